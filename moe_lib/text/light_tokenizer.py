"""The course's tokenizer, answered by the package `tokenizers` as long as that suffices.

Importing transformers' tokenizers takes half as long as importing torch, and a notebook's first
cell needs no more of them than ids, places and names.
"""

from collections import UserDict
from collections.abc import Sequence

import torch
from torch import Tensor

# Options of a call that are answered here, with their defaults; any other one, or another kind of
# value, is a matter for transformers.
_OPTIONS = {
    "add_special_tokens": True,  # the course's tokenizers add none
    "split_special_tokens": False,
    "return_offsets_mapping": False,
    "return_attention_mask": True,
    "return_token_type_ids": False,
    "return_tensors": None,
    "verbose": True,
}


# In the order in which transformers lists them.
_ROLES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


def _special_tokens(tokenizer: "LightTokenizer") -> list[str]:
    roles = tokenizer._roles
    return [*(roles[role] for role in _ROLES if role in roles), *tokenizer._others]


_ATTRIBUTES = {
    "all_special_tokens": _special_tokens,
    "all_special_ids": lambda t: [t._backend.token_to_id(token) for token in _special_tokens(t)],
    "added_tokens_decoder": lambda t: t._backend.get_added_tokens_decoder(),
    "vocab_size": lambda t: t._backend.get_vocab_size(with_added_tokens=False),
    "backend_tokenizer": lambda t: t._backend,
}


def _is_light(text, wanted: dict) -> bool:
    """True for a text or a list of texts, and options that are answered here."""
    one = isinstance(text, str)
    texts = one or (
        isinstance(text, list) and len(text) > 0 and all(isinstance(part, str) for part in text)
    )
    tensors = wanted["return_tensors"]
    return (
        texts
        and wanted.keys() == _OPTIONS.keys()
        and not wanted["return_token_type_ids"]
        # Texts of different lengths make no tensor: transformers says so in its own words.
        and (tensors is None or (tensors == "pt" and one and not wanted["return_offsets_mapping"]))
    )


class LightEncoding(UserDict):
    """What a call returns: `input_ids`, `attention_mask`, `offset_mapping`, as keys or attributes.

    Everything else that a transformers.BatchEncoding has comes from one, made when it is asked for.
    """

    def __init__(self, data: dict, encodings: Sequence = ()):
        super().__init__(data)
        self._encodings = encodings

    def to(self, device) -> "LightEncoding":
        """The same, with its tensors on `device`."""
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.data.items()}
        return LightEncoding(moved, self._encodings)

    def __getattr__(self, name: str):
        if name.startswith("_") or name == "data":
            raise AttributeError(name)
        if name in self.data:
            return self.data[name]
        from transformers import BatchEncoding

        return getattr(BatchEncoding(self.data, list(self._encodings)), name)


class LightTokenizer:
    """Answers as transformers.PreTrainedTokenizerFast does.

    Calls with the usual options, `decode`, the conversions between ids and tokens, and the special
    tokens are answered here. The first question beyond that, such as `save_pretrained`, `pad` or
    `apply_chat_template`, and the first attribute that is set, make the PreTrainedTokenizerFast;
    from then on it answers everything, so the two can never disagree.

    Attributes:
        pad_token, pad_token_id and so on for eos, mask, bos, sep, cls, unk; None where none is
        all_special_tokens, all_special_ids, added_tokens_decoder, vocab_size, backend_tokenizer
    """

    is_fast = True

    def __init__(self, backend, roles: dict[str, str], others: Sequence[str]):
        """
        backend  a tokenizers.Tokenizer
        roles    {"pad_token": "<|pad|>", ...}
        others   special tokens without a role
        """
        # Past __setattr__, which hands attributes to transformers.
        vars(self).update(_backend=backend, _roles=dict(roles), _others=tuple(others), _full=None)

    def to_transformers(self):
        """The transformers.PreTrainedTokenizerFast that answers from now on."""
        if self._full is None:
            from transformers import PreTrainedTokenizerFast

            vars(self)["_full"] = PreTrainedTokenizerFast(
                tokenizer_object=self._backend,
                **self._roles,
                extra_special_tokens=list(self._others),
                clean_up_tokenization_spaces=False,
            )
        return self._full

    def __call__(self, text=None, *more, **options):
        wanted = _OPTIONS | {name: v for name, v in options.items() if v is not None}
        if self._full is not None or more or not _is_light(text, wanted):
            return self.to_transformers()(text, *more, **options)
        self._backend.encode_special_tokens = wanted["split_special_tokens"]
        batched = not isinstance(text, str)
        encodings = self._backend.encode_batch(list(text) if batched else [text])
        columns = {"input_ids": [encoding.ids for encoding in encodings]}
        if wanted["return_attention_mask"]:
            columns["attention_mask"] = [encoding.attention_mask for encoding in encodings]
        if wanted["return_offsets_mapping"]:
            columns["offset_mapping"] = [encoding.offsets for encoding in encodings]
        if wanted["return_tensors"] == "pt":
            columns = {k: torch.tensor(v, dtype=torch.long) for k, v in columns.items()}
        elif not batched:
            columns = {name: column[0] for name, column in columns.items()}
        return LightEncoding(columns, encodings)

    def decode(self, token_ids, skip_special_tokens: bool = False, **options):
        """The text of a number, a list of ids, or a tensor of one dimension."""
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        ids = [ids] if isinstance(ids, int) else ids
        light = isinstance(ids, (list, tuple)) and all(type(number) is int for number in ids)
        if self._full is not None or options or not light:
            return self.to_transformers().decode(token_ids, skip_special_tokens, **options)
        return self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def convert_ids_to_tokens(self, ids, *more, **options):
        """The token of an id, or the tokens of several; None for an id that is not known."""
        one, light = type(ids) is int, isinstance(ids, (list, tuple))
        light = one or (light and all(type(number) is int for number in ids))
        if self._full is not None or more or options or not light:
            return self.to_transformers().convert_ids_to_tokens(ids, *more, **options)
        token = self._backend.id_to_token
        return token(ids) if one else [token(number) for number in ids]

    def convert_tokens_to_ids(self, tokens):
        """The id of a token, or the ids of several; None for a token that is not known."""
        if self._full is not None or not isinstance(tokens, (str, list, tuple)):
            return self.to_transformers().convert_tokens_to_ids(tokens)
        number = self._backend.token_to_id
        return number(tokens) if isinstance(tokens, str) else [number(token) for token in tokens]

    def __len__(self) -> int:
        return self._backend.get_vocab_size() if self._full is None else len(self._full)

    def __getattr__(self, name: str):
        if name.startswith("__") or "_full" not in vars(self):
            raise AttributeError(name)  # as while it is copied or unpickled
        if self._full is None and name in _ATTRIBUTES:
            return _ATTRIBUTES[name](self)
        role = name.removesuffix("_id")
        if self._full is None and role in _ROLES:
            token = self._roles.get(role)
            return token if role == name or token is None else self._backend.token_to_id(token)
        return getattr(self.to_transformers(), name)

    def __setattr__(self, name: str, value) -> None:
        setattr(self.to_transformers(), name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} tokens, {', '.join(self._roles.values())})"

"""Answers out of a fixed list: score each of them, or let the model write and allow only what leads
to one.

Both use the probability of the whole answer, end token included, without a prompt's own
probability:

    log p(answer | prompt) = sum over its tokens of log p(token | prompt, tokens before)
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from moe_lib.errors import is_whole, require, require_texts
from moe_lib.model import KVCache
from moe_lib.model_inputs import check_vocabulary
from moe_lib.modules import eval_mode
from moe_lib.text import pad_batch
from moe_lib.tuning.arguments import Listed, Model, TextList, is_list
from moe_lib.tuning.encoding import token_lists
from moe_lib.tuning.prompting.chats import encode_prompts
from moe_lib.validation import Choice, Count, Tokenizer, checked

REDUCTIONS = ("sum", "mean")


@checked
def choice_ids(choices: TextList, tokenizer: Tokenizer) -> list[list[int]]:
    """The tokens of each choice and its end token. ValueError for no choices, an empty one, or one
    twice."""
    require_texts("choices", choices)
    twice = len(set(choices)) != len(choices)
    require(
        len(choices) > 0 and not twice,
        "choices",
        list(choices)[:8],
        "texts, at least one, none twice",
    )
    return [[*ids, tokenizer.eos_token_id] for ids in token_lists(choices, tokenizer, "choices")]


@checked
@torch.no_grad()
def score_choices(
    model: Model,
    tokenizer: Tokenizer,
    chats: Listed,
    choices: TextList,
    *,
    reduce: Choice(*REDUCTIONS) = "sum",
    batch_size: Count = 64,
) -> Tensor:
    """log p(choice | chat) in nats -> (chats, choices) float on the CPU.

    reduce       "sum": what the model gives the whole answer; longer ones get less. "mean": per
                 token of the answer
    batch_size   choices at a time. A prompt is read once, and its cache serves all of its choices
    """
    require(len(chats) > 0, "chats", "none", "at least one")
    _check_writer(model, tokenizer)
    answers = choice_ids(choices, tokenizer)
    room = model.config.max_position_embeddings - max(map(len, answers))
    prompts = encode_prompts(chats, tokenizer, max_length=room)
    lengths = torch.tensor([len(answer) for answer in answers])
    with eval_mode(model):
        scores = torch.stack(
            [
                _score_one(model, prompt, answers, tokenizer.pad_token_id, batch_size)
                for prompt in prompts
            ]
        )
    return scores / lengths if reduce == "mean" else scores


def _check_writer(model, tokenizer) -> None:
    wants = "a causal one (config.causal = True): an answer is read token by token"
    require(model.config.causal, "model", "a masked language model", wants)
    check_vocabulary(tokenizer, model.config)


def _score_one(
    model, prompt: list[int], answers: list[list[int]], pad_token_id: int, batch_size: int
) -> Tensor:
    """The sums of one prompt, (choices,)."""
    cache, first = _read(model, prompt)
    sums = []
    for start in range(0, len(answers), batch_size):
        ids, mask = (
            part.to(model.device)
            for part in pad_batch(answers[start : start + batch_size], pad_token_id)
        )
        known = torch.ones(len(ids), len(prompt), dtype=mask.dtype, device=ids.device)
        logits = first.expand(len(ids), 1, -1)
        if ids.shape[1] > 1:  # the last token of an answer has nothing to predict
            inputs, visible = ids[:, :-1], torch.cat((known, mask[:, :-1]), 1)
            more = model(
                inputs, attention_mask=visible, cache=select_rows(cache, [0] * len(ids))
            ).logits
            logits = torch.cat((logits, more), 1)  # (choices, longest, vocab)
        found = logits.float().log_softmax(-1).gather(-1, ids[..., None])[..., 0]
        sums.append((found * mask).sum(1).cpu())
    return torch.cat(sums)


def _read(model, prompt: list[int]) -> tuple[KVCache, Tensor]:
    """-> the cache of one prompt, and the logits (1, 1, vocab) of what follows it."""
    cache = KVCache()
    ids = torch.tensor([prompt], device=model.device)
    return cache, model(ids, cache=cache, last_logits_only=True).logits


def select_rows(cache: KVCache, rows: Sequence[int]) -> KVCache:
    """A new cache with these rows of `cache`, each as often as it is named: a prompt read once
    serves many answers."""
    filled = isinstance(cache, KVCache) and len(cache.keys) > 0
    require(filled, "cache", cache, "a KVCache that has read something", TypeError)
    require(is_list(rows), "rows", rows, "a list of rows", TypeError)
    last = len(cache.keys[0]) - 1
    for row in rows:
        require(is_whole(row) and 0 <= row <= last, "rows", row, f"rows from 0 to {last}")
    chosen = KVCache()
    index = torch.tensor(list(rows), device=cache.keys[0].device)
    chosen.keys = [key[index] for key in cache.keys]
    chosen.values = [value[index] for value in cache.values]
    return chosen


def _ids(argument: str, sequence: Sequence[int]) -> tuple[int, ...]:
    require(is_list(sequence), argument, sequence, "a list of token ids", TypeError)
    for token in sequence:
        fits = is_whole(token) and token >= 0
        require(fits, argument, token, "token ids: whole numbers of at least 0")
    return tuple(map(int, sequence))


class PrefixTree:
    """The sequences of a list as a tree: after a beginning, which tokens still lead to one of them?

    sequences   token ids each. Two equal ones, or one that is the beginning of another, raise
                ValueError: with an end token at the end neither happens.
    """

    def __init__(self, sequences: Iterable[Sequence[int]]):
        usable = isinstance(sequences, Iterable) and not isinstance(sequences, str | bytes)
        require(usable, "sequences", sequences, "lists of token ids", TypeError)
        self.sequences = [_ids("sequences", sequence) for sequence in sequences]
        filled = len(self.sequences) > 0 and all(self.sequences)
        require(filled, "sequences", self.sequences[:4], "some, none empty")
        self._next: dict[tuple[int, ...], list[int]] = {}
        for sequence in sorted(self.sequences):
            for length, token in enumerate(sequence):
                following = self._next.setdefault(sequence[:length], [])
                if token not in following:
                    following.append(token)
        self._ends = set(self.sequences)
        require(
            len(self._ends) == len(self.sequences),
            "sequences",
            "one of them twice",
            "all different",
        )
        for sequence in self.sequences:
            require(
                sequence not in self._next,
                "sequences",
                sequence,
                "sequences that are no beginning of another: end them with a token",
            )

    def allowed(self, prefix: Sequence[int] = ()) -> list[int]:
        """The tokens that may follow `prefix`; none at the end of a sequence. ValueError for
        another beginning."""
        prefix = _ids("prefix", prefix)
        known = prefix in self._next or prefix in self._ends
        require(known, "prefix", prefix, "the beginning of a sequence of this tree")
        return self._next.get(prefix, [])


@checked
@torch.no_grad()
def answer_within(
    model: Model,
    tokenizer: Tokenizer,
    chats: Listed,
    choices: TextList,
    *,
    beams: Count = 4,
) -> list[list[str]]:
    """Beam search over the prefix tree of `choices`: for each chat at most `beams` of them,
    likeliest first.

    beams   1 is greedy: fast, and it may miss the likeliest whole answer, whose first token need
            not be the likeliest. With as many beams as choices the order is exactly that of
            `score_choices(..., reduce="sum")`.

    A token that leads nowhere is not renormalised away: probabilities stay those of the free model.
    """
    _check_writer(model, tokenizer)
    answers = choice_ids(choices, tokenizer)
    tree, names = PrefixTree(answers), dict(zip(map(tuple, answers), choices, strict=True))
    prompts = encode_prompts(
        chats, tokenizer, max_length=model.config.max_position_embeddings - max(map(len, answers))
    )
    with eval_mode(model):
        return [
            [names[found] for found in _search(model, prompt, tree, beams)] for prompt in prompts
        ]


def _search(model, prompt: list[int], tree: PrefixTree, beams: int) -> list[tuple[int, ...]]:
    cache, logits = _read(model, prompt)
    live, done = (
        [((), 0.0)],
        [],
    )  # beginnings of equal length, and finished answers, with their log-probabilities
    while live:
        log_p = logits[:, -1].float().log_softmax(-1).cpu()
        longer = [
            (prefix + (token,), total + float(log_p[row, token]), row)
            for row, (prefix, total) in enumerate(live)
            for token in tree.allowed(prefix)
        ]
        # Finished answers compete for the same places: a beginning that is already less likely can
        # only fall.
        every = sorted(
            [
                *((score, prefix, row) for prefix, score, row in longer),
                *((score, prefix, None) for prefix, score in done),
            ],
            key=lambda item: (-item[0], item[1]),
        )[:beams]
        done = [
            (prefix, score)
            for score, prefix, row in every
            if row is None or not tree.allowed(prefix)
        ]
        kept = [
            (score, prefix, row)
            for score, prefix, row in every
            if row is not None and tree.allowed(prefix)
        ]
        live = [(prefix, score) for score, prefix, _ in kept]
        if live:
            cache = select_rows(cache, [row for _, _, row in kept])
            ids = torch.tensor([[prefix[-1]] for prefix, _ in live], device=model.device)
            logits = model(ids, cache=cache, last_logits_only=True).logits
    return [prefix for prefix, _ in done]

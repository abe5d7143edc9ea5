"""From labelled texts to batches of token ids. Every text is read literally: "<|end|>" in it is
plain characters."""

import operator
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.labels import IGNORED
from moe_lib.text.order import ShuffledOrder


@dataclass(frozen=True)
class Encoded:
    """Encoded examples, a dict each: what `collate` makes batches of.

    label_names   the classes, in the order of their numbers; empty for spans and multiple choice
    contexts      the passages, for spans: a row's "example" and "offsets" point into them
    n_cut         how many texts were longer than max_length and lost their end
    """

    rows: list[dict]
    pad_token_id: int
    label_names: tuple[str, ...] = ()
    contexts: tuple[str, ...] = field(default=(), repr=False)
    n_cut: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Sequence[int]) -> "Encoded":
        """The same with only these rows, in this order: 100 labels out of all, say."""
        rows = [self.rows[int(index)] for index in indices]
        return Encoded(rows, self.pad_token_id, self.label_names, self.contexts, self.n_cut)


class Examples:
    """Batches as a pure function of (seed, step), like moe_lib.text.Batches: `.at(step)` always
    gives the same one.

    Every epoch shuffles anew and uses each row once; its last batch is smaller when they do not
    divide evenly. A batch is padded on the right to its own longest row. Raises ValueError for no
    rows or a bad batch_size or seed.
    """

    def __init__(self, encoded: Encoded, batch_size: int, *, seed: int = 0):
        require(len(encoded) > 0, "encoded", "no rows", "at least one")
        self.encoded, self.batch_size, self.seed = encoded, batch_size, seed
        self.order = ShuffledOrder(len(encoded), batch_size, seed)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.order)

    def at(self, step: int) -> dict[str, Tensor]:
        """The batch of one step, counted from 0 over all epochs."""
        return self._batch(self.order.at(step).tolist())

    def in_order(self) -> Iterator[dict[str, Tensor]]:
        """All rows once, unshuffled: for measuring."""
        for start in range(0, len(self.encoded), self.batch_size):
            yield self._batch(range(start, min(start + self.batch_size, len(self.encoded))))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.in_order()

    def _batch(self, indices) -> dict[str, Tensor]:
        return collate([self.encoded.rows[index] for index in indices], self.encoded.pad_token_id)


def collate(rows: list[dict], pad_token_id: int) -> dict[str, Tensor]:
    """Rows -> input_ids, attention_mask (batch, longest) int64, and labels, context_mask,
    choice_mask where rows have them. Choices: input_ids, attention_mask (batch, choices,
    longest)."""
    if "choices" in rows[0]:
        return _collate_choices(rows, pad_token_id)
    batch = {
        "input_ids": _pad([row["input_ids"] for row in rows], pad_token_id),
        "attention_mask": _pad([[1] * len(row["input_ids"]) for row in rows], 0),
    }
    if "context_mask" in rows[0]:
        batch["context_mask"] = _pad([row["context_mask"] for row in rows], 0)
    if "labels" in rows[0]:
        labels = [row["labels"] for row in rows]
        batch["labels"] = (
            _pad(labels, IGNORED) if isinstance(labels[0], list) else torch.tensor(labels)
        )
    return batch


def encode_texts(
    texts: Sequence[str],
    labels: Sequence[str | int] | None,
    tokenizer,
    *,
    label_names: Sequence[str] = (),
    max_length: int = 128,
    allow_empty: bool = False,
) -> Encoded:
    """Texts with one label each -> Encoded, for a SequenceClassifier. Each text ends with the end
    token.

    labels       names, or numbers into label_names; None for texts without labels
    max_length   tokens, the end token among them. Longer texts lose their end: one warning gives
                 their number
    allow_empty  accept classes without a single example (a small draw, say)

    Raises ValueError for an empty text, labels outside label_names, or classes without examples,
    naming them.
    """
    ids = _tokens(texts, tokenizer, "texts")
    cut, n_cut = _cut(ids, max_length - 1, "texts", max_length)
    rows = [{"input_ids": [*row, tokenizer.eos_token_id]} for row in cut]
    if labels is not None:
        for row, number in zip(
            rows, label_numbers(labels, label_names, len(texts), allow_empty), strict=True
        ):
            row["labels"] = number
    return Encoded(rows, tokenizer.pad_token_id, tuple(label_names), n_cut=n_cut)


def encode_words(
    sentences: Sequence[Sequence[str]],
    labels: Sequence[Sequence[str | int]] | None,
    tokenizer,
    *,
    label_names: Sequence[str] = (),
    joiner: str = " ",
    max_length: int = 128,
    allow_empty: bool = False,
) -> Encoded:
    """Sentences as lists of words with a label each -> Encoded, for a TokenClassifier.

    A word's label stands at its first token; its other tokens get -100, or long words would count
    more than once.
    joiner   what stands between words: " ", or "" for Chinese. Other arguments and errors as in
             `encode_texts`.
    """
    pieces = [
        [(joiner if place else "") + word for place, word in enumerate(words)]
        for words in sentences
    ]
    for index, words in enumerate(pieces):
        require(
            all(piece.strip() for piece in words) and words,
            f"sentences[{index}]",
            list(words),
            "words, none empty",
        )
    ids = [_tokens(words, tokenizer, f"sentences[{index}]") for index, words in enumerate(pieces)]
    flat = None
    if labels is not None:
        for index, (words, tags) in enumerate(zip(sentences, labels, strict=True)):
            require(
                len(words) == len(tags),
                f"labels[{index}]",
                f"{len(tags)} labels",
                f"one per word ({len(words)})",
            )
        every = [tag for tags in labels for tag in tags]
        flat = iter(label_numbers(every, label_names, len(every), allow_empty))
    rows = []
    for words in ids:
        row = {"input_ids": [token for word in words for token in word]}
        if flat is not None:
            row["labels"] = [
                t for word in words for t in [next(flat)] + [IGNORED] * (len(word) - 1)
            ]
        rows.append(row)
    cut, n_cut = _cut([row["input_ids"] for row in rows], max_length, "sentences", max_length)
    for row, kept in zip(rows, cut, strict=True):
        row.update({name: part[: len(kept)] for name, part in row.items()})
    return Encoded(rows, tokenizer.pad_token_id, tuple(label_names), n_cut=n_cut)


def encode_choices(
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    answers: Sequence[int] | Sequence[Sequence[int]] | None,
    tokenizer,
    *,
    max_length: int = 128,
) -> Encoded:
    """Prompts with some choices each -> Encoded, for MultipleChoice: prompt, separator, choice, end
    token.

    answers   the number of the right choice, or for all prompts a list of the numbers of all right
              ones. A pair over max_length loses the end of its prompt: what differs between choices
              stays.

    Raises ValueError for an answer that is not one of the choices, and for an empty list.
    """
    require(
        len(prompts) == len(choices),
        "choices",
        len(choices),
        f"one list per prompt ({len(prompts)})",
    )
    whole = answers is None or len(answers) == len(prompts)
    require(whole, "answers", f"{len(answers or ())} answers", f"one per prompt ({len(prompts)})")
    prompt_ids = _tokens(prompts, tokenizer, "prompts")
    rows, n_cut = [], 0
    for index, (prompt, texts) in enumerate(zip(prompt_ids, choices, strict=True)):
        encoded = _tokens(texts, tokenizer, f"choices[{index}]")
        require(bool(encoded), f"choices[{index}]", list(texts), "at least one choice")
        room = max_length - 2 - max(map(len, encoded))
        require(
            room >= 1,
            f"choices[{index}]",
            f"{max(map(len, encoded))} tokens",
            f"at most {max_length - 3}",
        )
        n_cut += len(prompt) > room
        rows.append(
            {
                "choices": [
                    [*prompt[:room], tokenizer.sep_token_id, *choice, tokenizer.eos_token_id]
                    for choice in encoded
                ]
            }
        )
        if answers is not None:
            rows[-1]["labels"] = _choice_label(answers[index], len(texts), f"answers[{index}]")
    several = {isinstance(row["labels"], list) for row in rows if "labels" in row}
    require(
        len(several) < 2,
        "answers",
        "numbers and lists",
        "one number per prompt, or one list per prompt",
    )
    _warn(n_cut, len(prompts), "prompts", max_length, level=3)
    return Encoded(rows, tokenizer.pad_token_id, n_cut=n_cut)


def _choice_label(answer, n_choices: int, argument: str) -> int | list[int]:
    """The number of the right choice; for a list of them, 1 at each and 0 elsewhere."""
    single = _whole(answer) >= 0
    numbers = [answer] if single or not isinstance(answer, Sequence) else list(answer)
    fits = len(numbers) > 0 and all(0 <= _whole(number) < n_choices for number in numbers)
    require(
        fits,
        argument,
        answer,
        f"0 to {n_choices - 1}, one of its choices (or a list of at least one)",
    )
    return int(answer) if single else [int(number in numbers) for number in range(n_choices)]


def label_numbers(
    labels: Sequence[str | int], names: Sequence[str], expected: int, allow_empty: bool = False
) -> list:
    """Labels, as names or numbers, -> numbers. ValueError naming a label outside `names`, or
    classes nobody has."""
    require(
        len(labels) == expected, "labels", f"{len(labels)} labels", f"one per example ({expected})"
    )
    require(len(set(names)) == len(names) > 0, "label_names", list(names), "names, none twice")
    numbers = {name: number for number, name in enumerate(names)}
    found = []
    for index, label in enumerate(labels):
        number = numbers.get(label, -1) if isinstance(label, str) else _whole(label)
        require(
            0 <= number < len(names),
            f"labels[{index}]",
            label,
            f"one of {', '.join(names)}, or its number",
        )
        found.append(number)
    empty = [name for number, name in enumerate(names) if number not in set(found)]
    require(
        allow_empty or not empty,
        "labels",
        f"no example of {', '.join(empty)}",
        "an example of each class, or allow_empty=True",
    )
    return found


def _whole(label) -> int:
    """A label as an int (numpy's and torch's whole numbers are ones too); -1 for 0.7 or None."""
    try:
        return operator.index(label)
    except TypeError:
        return -1


def _tokens(texts: Sequence[str], tokenizer, argument: str) -> list[list[int]]:
    for index, text in enumerate(texts):
        require(
            isinstance(text, str) and text.strip() != "",
            f"{argument}[{index}]",
            text,
            "a text that is not empty",
        )
    return (
        tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        if len(texts)
        else []
    )


def _cut(
    rows: list[list[int]], room: int, argument: str, max_length: int
) -> tuple[list[list[int]], int]:
    require(room >= 1, "max_length", max_length, "room for at least one token of text")
    n_cut = sum(len(row) > room for row in rows)
    _warn(n_cut, len(rows), argument, max_length)
    return [row[:room] for row in rows], n_cut


def _warn(n_cut: int, total: int, argument: str, max_length: int, level: int = 4) -> None:
    """level: the reader's own line, so many calls above."""
    if n_cut:
        cut = (
            f"{n_cut} of {total} are longer than max_length={max_length} tokens and lost their end"
        )
        warnings.warn(f"{argument}: {cut}", stacklevel=level)


def _pad(rows: list[list[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def _collate_choices(rows: list[dict], pad_token_id: int) -> dict[str, Tensor]:
    n_choices = max(len(row["choices"]) for row in rows)
    every = [
        choice
        for row in rows
        for choice in [*row["choices"], *[[]] * (n_choices - len(row["choices"]))]
    ]
    shape = (len(rows), n_choices, -1)
    batch = {
        "input_ids": _pad(every, pad_token_id).view(shape),
        "attention_mask": _pad([[1] * len(choice) for choice in every], 0).view(shape),
        "choice_mask": _pad([[1] * len(row["choices"]) for row in rows], 0),
    }
    if "labels" in rows[0]:
        labels = [row["labels"] for row in rows]
        batch["labels"] = _pad(labels, 0) if isinstance(labels[0], list) else torch.tensor(labels)
    return batch

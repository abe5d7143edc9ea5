"""From labelled texts to token ids. Every text is read literally: "<|end|>" in it is
plain characters."""

import warnings
from collections.abc import Sequence

from moe_lib.errors import is_whole, require, require_texts, require_whole
from moe_lib.labels import IGNORED
from moe_lib.tuning.arguments import Listed, TextList, require_list
from moe_lib.tuning.examples import Encoded
from moe_lib.validation import Count, Flag, Text, Tokenizer, checked


@checked
def encode_texts(
    texts: TextList,
    labels: Listed | None,
    tokenizer: Tokenizer,
    *,
    label_names: TextList = (),
    max_length: Count = 128,
    allow_empty: Flag = False,
) -> Encoded:
    """Texts with one label each -> Encoded, for a SequenceClassifier. Each text ends with the end
    token; for an encoder of transformers, whose tokenizer has none, it stands between [CLS] and
    [SEP].

    labels       names, or numbers into label_names; None for texts without labels
    max_length   tokens, the end token among them. Longer texts lose their end: one warning gives
                 their number
    allow_empty  accept classes without a single example (a small draw, say)

    Raises ValueError for an empty text, labels outside label_names, or classes without examples,
    naming them.
    """
    ids = token_lists(texts, tokenizer, "texts")
    require_texts("label_names", label_names)
    require("" not in list(label_names), "label_names", label_names, "names that are not empty")
    first, last = text_frame(tokenizer)
    cut, n_cut = _cut(ids, max_length - len(first) - len(last), "texts", max_length)
    rows = [{"input_ids": [*first, *row, *last]} for row in cut]
    if labels is not None:
        for row, number in zip(
            rows, label_numbers(labels, label_names, len(texts), allow_empty), strict=True
        ):
            row["labels"] = number
    return Encoded(rows, tokenizer.pad_token_id, tuple(label_names), n_cut=n_cut)


@checked
def encode_words(
    sentences: Listed,
    labels: Listed | None,
    tokenizer: Tokenizer,
    *,
    label_names: TextList = (),
    joiner: Text = " ",
    max_length: Count = 128,
    allow_empty: Flag = False,
) -> Encoded:
    """Sentences as lists of words with a label each -> Encoded, for a TokenClassifier.

    A word's label stands at its first token; its other tokens get -100, or long words would count
    more than once.
    joiner   what stands between words: " ", or "" for Chinese. Other arguments and errors as in
             `encode_texts`.
    """
    for index, words in enumerate(sentences):
        require_texts(f"sentences[{index}]", words)
    require_texts("label_names", label_names)
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
    ids = [
        token_lists(words, tokenizer, f"sentences[{index}]") for index, words in enumerate(pieces)
    ]
    flat = None
    if labels is not None:
        wants = f"one list per sentence ({len(sentences)})"
        require(len(labels) == len(sentences), "labels", f"{len(labels)} lists", wants)
        for index, (words, tags) in enumerate(zip(sentences, labels, strict=True)):
            require_list(f"labels[{index}]", tags, "a list of labels")
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


@checked
def encode_choices(
    prompts: TextList,
    choices: Listed,
    answers: Listed | None,
    tokenizer: Tokenizer,
    *,
    max_length: Count = 128,
) -> Encoded:
    """Prompts with some choices each -> Encoded, for MultipleChoice: prompt, separator, choice, end
    token.

    answers   the number of the right choice, or for all prompts a list of the numbers of all right
              ones. A pair over max_length loses the end of its prompt: what differs between choices
              stays.

    Raises ValueError for an answer that is not one of the choices, and for an empty list.
    """
    prompt_ids = token_lists(prompts, tokenizer, "prompts")
    require(
        len(prompts) == len(choices),
        "choices",
        len(choices),
        f"one list per prompt ({len(prompts)})",
    )
    whole = answers is None or len(answers) == len(prompts)
    require(whole, "answers", f"{len(answers or ())} answers", f"one per prompt ({len(prompts)})")
    rows, n_cut = [], 0
    for index, (prompt, texts) in enumerate(zip(prompt_ids, choices, strict=True)):
        encoded = token_lists(texts, tokenizer, f"choices[{index}]")
        require(len(encoded) >= 2, f"choices[{index}]", list(texts), "at least two choices")
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
    _warn(n_cut, len(prompts), "prompts", max_length, level=4)
    return Encoded(rows, tokenizer.pad_token_id, n_cut=n_cut)


def text_frame(tokenizer) -> tuple[list[int], list[int]]:
    """The tokens before and after a text: nothing and the end token, or [CLS] and [SEP]."""
    first, last = getattr(tokenizer, "cls_token_id", None), getattr(tokenizer, "sep_token_id", None)
    if (end := tokenizer.eos_token_id) is not None:
        return [], [end]
    wants = "one with an end token, or with cls and sep tokens"
    there = first is not None and last is not None
    require(there, "tokenizer", type(tokenizer).__name__, wants)
    return [first], [last]


def _choice_label(answer, n_choices: int, argument: str) -> int | list[int]:
    """The number of the right choice; for a list of them, 1 at each and 0 elsewhere."""
    single = _whole(answer) >= 0
    several = isinstance(answer, Sequence) and not isinstance(answer, str | bytes)
    numbers = list(answer) if several and not single else [answer]
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
    """A label as an int (numpy's and torch's whole numbers are ones too); -1 for 0.7, True or
    None."""
    return int(label) if is_whole(label) else -1


def token_lists(texts: Sequence[str], tokenizer, argument: str) -> list[list[int]]:
    """Texts as token ids, read literally. TypeError for one text instead of a list, ValueError for
    an empty one; both name it."""
    require_texts(argument, texts)
    for index, text in enumerate(texts):
        require(text.strip() != "", f"{argument}[{index}]", text, "a text that is not empty")
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
    require_whole("max_length", max_length)
    require(room >= 1, "max_length", max_length, "room for at least one token of text")
    n_cut = sum(len(row) > room for row in rows)
    _warn(n_cut, len(rows), argument, max_length)
    return [row[:room] for row in rows], n_cut


def _warn(n_cut: int, total: int, argument: str, max_length: int, level: int = 5) -> None:
    """level: the reader's own line, so many calls above."""
    if n_cut:
        cut = (
            f"{n_cut} of {total} are longer than max_length={max_length} tokens and lost their end"
        )
        warnings.warn(f"{argument}: {cut}", stacklevel=level)

"""What the explorer has read: one text as trained and as changed, and the reading it is compared
with."""

from torch import nn

from moe_lib.errors import require
from moe_lib.tracing import (
    Change,
    Comparison,
    Reading,
    changed_predictions,
    compare_readings,
    largest_k,
    read_text,
    trained_k,
)
from moe_lib.views.explorer import words
from moe_lib.views.kit.page_messages import text as check_text

_NEEDS_MODEL = "explore(model, tokenizer, …): this is a trace without its model"


class Readings:
    """One text in a model, or two texts in a model, or one text in two models.

    baseline    the text in the model as it was trained
    reading     the same with experts switched off or another number of experts per token; the
                baseline if neither
    compared    the other text with the same changes, or the text in the other model as it is; else
                None
    comparison  of `reading` and `compared`; None without, or if one of them has no tokens
    changes     the predictions whose most probable token changed
    ks          the numbers of experts per token to choose from; none if it cannot be changed:
                `k_note` says why
    trained_k   the model's own number, 0 if its layers differ or it cannot be changed
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer,
        max_tokens: int,
        other_model: nn.Module | None,
        other_tokenizer,
        names: tuple[str, str],
    ):
        self._model, self._tokenizer, self.max_tokens = model, tokenizer, max_tokens
        require(
            other_model is None or isinstance(other_model, nn.Module),
            "compare_model",
            type(other_model).__name__,
            "another language model, or None",
            TypeError,
        )
        pair = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        require(pair and len(names) == 2, "names", names, "two texts, (first, second)")
        for name in names:
            check_text("names", name)
        self._other_model = other_model
        self._other_tokenizer = tokenizer if other_tokenizer is None else other_tokenizer
        self.names, self.two_models = tuple(names), other_model is not None
        self.baseline = self.reading = self.compared = None
        self.comparison: Comparison | None = None
        self.changes: list[Change] = []
        self._asked: tuple = ()

    @property
    def text(self) -> str:
        """The text that was asked for; `reading.text` is the part of it that was read."""
        return self._asked[0]

    @property
    def other_text(self) -> str | None:
        """The second text that was asked for."""
        return self._asked[1]

    def read(self, text: str, other_text: str | None, off: dict, k: int | None) -> None:
        """Read again what these four change. After an error all is as it was."""
        if self._model is None:
            self._refuse_without_model(text, other_text, off, k)
            return
        require(
            other_text is None or not self.two_models,
            "compare_text",
            "a text, with a compare_model",
            "one of the two: another text, or another model for the same text",
        )
        check_text("text", text)
        if other_text is not None:
            check_text("compare_text", other_text)
        arguments = (self._model, self._tokenizer, text, self.max_tokens)
        known = self._asked[:1] == (text,) and self._asked[4] == self.max_tokens
        baseline = self.baseline if known else read_text(*arguments)
        changed = any(off.values()) or k is not None
        same = known and self._asked[2:4] == (off, k)
        reading = self.reading if same else read_text(*arguments, off, k) if changed else baseline
        compared = self._read_other(text, other_text, off, k)
        both = compared is not None and len(reading) and len(compared)
        if not same or compared is not self.compared:
            self.comparison = compare_readings(reading, compared) if both else None
        self.baseline, self.reading, self.compared = baseline, reading, compared
        self.changes = changed_predictions(baseline, reading) if reading is not baseline else []
        self._asked = (text, other_text, off, k, self.max_tokens)

    def _refuse_without_model(self, text, other_text, off, k) -> None:
        """ValueError for anything but what stands there already."""
        asked = {"text": text, "compare_text": other_text, "off": off, "k": k}
        there = {"text": self.text, "compare_text": None, "off": {}, "k": None}
        for name, value in asked.items():
            same = value == there[name] or (name == "off" and not any(value.values()))
            require(
                same, name, value, "explore(model, tokenizer, …): this is a trace without its model"
            )

    def _read_other(
        self, text: str, other_text: str | None, off: dict, k: int | None
    ) -> Reading | None:
        if self.two_models:
            if self._asked[:1] + self._asked[4:] == (text, self.max_tokens):
                return self.compared
            return read_text(self._other_model, self._other_tokenizer, text, self.max_tokens)
        if other_text is None or self._asked[1:] == (other_text, off, k, self.max_tokens):
            return None if other_text is None else self.compared
        return read_text(self._model, self._tokenizer, other_text, self.max_tokens, off, k)

    def find_k(self) -> None:
        """Set ks, trained_k and k_note."""
        self.ks, self.trained_k, self.k_note = [], 0, ""
        if self._model is None:
            self.k_note = "Experts per token, and switching experts off: need the model"
            return
        try:
            self.ks = list(range(1, largest_k(self._model) + 1))
            own = set(trained_k(self._model).values())
            self.trained_k = own.pop() if len(own) == 1 else 0
        except ValueError as error:
            self.k_note = f"Experts per token: fixed in this model ({error})"

    @classmethod
    def of_trace(cls, reading: Reading, names: tuple[str, str]) -> "Readings":
        """What a trace holds of one text; nothing can be changed without the model."""
        readings = cls(None, None, len(reading), None, None, names)
        readings.baseline = readings.reading = reading
        readings._asked = (reading.text, None, {}, None)
        return readings

    def summary(
        self, index: int, rank: int, token: int | None, side: int, expert: int | None
    ) -> str:
        """What is shown of layer `index`, in words; `token` is of the second reading if `side` is
        1."""
        reading = self.reading
        if not len(reading):
            return words.NO_TEXT
        layer = reading.trace.layer(index)
        notes = (words.cut_words(reading), words.not_finite_words(reading))
        parts = [*notes, words.layer_words(reading, layer, rank)]
        if self.comparison is not None:
            parts.append(
                words.comparison_words(self.comparison, index, self.names, self.two_models)
            )
        if token is not None:
            here = self.compared if side else reading
            parts += [
                words.token_words(here, part, token)
                for part in here.trace.layers
                if part.index == index
            ]
        if expert is not None:
            parts.append(words.expert_words(reading, layer, expert))
        if reading is not self.baseline:
            parts.append(words.what_if_words(self.baseline, reading, self.changes))
        return " ".join(part for part in parts if part)

"""The mask playground: press words of a text to hide them, and see what a masked language model
makes of the gaps."""

from collections.abc import Iterable
from difflib import SequenceMatcher

import anywidget
import traitlets
from torch import nn

from moe_lib.errors import is_whole, require
from moe_lib.model_inputs import check_vocabulary
from moe_lib.tracing.masked_words import predict_masked, rows_of, split_words
from moe_lib.tracing.token_labels import require_fast
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.page_messages import Form, MessageWidget, several, whole
from moe_lib.views.kit.page_messages import text as check_text
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.kit.wording import count
from moe_lib.views.mask_playground.words import NO_MASK, NO_TEXT, is_lost, masked_words

EXAMPLE = (
    "The list is sorted in place, and None is returned.\n\ndef __init__(self, name):\n    "
    "self.name = name\n"
)
MAX_TOKENS = 256  # keeps an update well under 0.3 s on one core


class MaskPlayground(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """Press words of a text to mask them; the bars show the model's most probable tokens at every
    masked position.

    For code:  mask([3]), unmask([3]), unmask(), text = "…"; words are counted from 0
    To read:   text, words, masked (list of word numbers), predictions (a MaskedPrediction per
    masked token),
               loss (mean over them in nats, None if nothing is masked, NaN where the model gives
               none), summary (what is shown, in words)

    Raises TypeError or ValueError naming the argument if the model is causal, the tokenizer has no
    mask token or does not fit the model, the text is no str, or there is no such word.
    """

    _esm = script("mask_playground")
    _css = style("mask_playground")
    FORMS = (
        Form("_read", needs={"text": check_text}),
        Form("_hide", needs={"masked": several(whole())}),
    )
    KEPT = ("_text", "_ids", "_words", "_tail", "_cut", "_masked", "_predictions")
    TELLS = ("words", "predictions")
    view = traitlets.Dict().tag(sync=True)  # all that is drawn; mask_playground.js only reads it

    def __init__(self, model: nn.Module, tokenizer, text: str = EXAMPLE):
        require(
            hasattr(model, "config") and isinstance(model, nn.Module),
            "model",
            type(model).__name__,
            "a masked language model",
            TypeError,
        )
        require(
            getattr(model.config, "causal", True) is False,
            "model",
            "a causal model",
            "a masked one (config.causal is False)",
        )
        require_fast(tokenizer)
        require(
            tokenizer.mask_token_id is not None,
            "tokenizer",
            "no mask token",
            "one with a mask token",
        )
        check_vocabulary(tokenizer, model.config)
        self._model, self._tokenizer = model, tokenizer
        self._max_tokens = min(MAX_TOKENS, model.config.max_position_embeddings)
        self._words, self._predictions, self._masked = [], [], []
        self._read(text)
        super().__init__(view=self._view())

    @property
    def text(self) -> str:
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        self._read(text)
        self.view = self._view()

    @property
    def masked(self) -> list[int]:
        """Numbers of the masked words, in the order of the text."""
        return list(self._masked)

    @property
    def loss(self) -> float | None:
        return (
            sum(p.loss for p in self.predictions) / len(self.predictions)
            if self.predictions
            else None
        )

    def mask(self, words: Iterable[int]) -> None:
        """Mask these words besides those that are masked already. ValueError if there is no such
        word."""
        self._set_masked({*self._masked, *self._known(words)})

    def unmask(self, words: Iterable[int] | None = None) -> None:
        """Show these words again; all words if None. ValueError if there is no such word."""
        self._set_masked(set() if words is None else set(self._masked) - self._known(words))

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        if not self.words:
            return NO_TEXT
        parts = [f"{count(len(self._ids), 'token')} of text in {count(len(self.words), 'word')}."]
        if self._cut:
            parts.append(
                f"{count(self._cut, 'token')} beyond the first {len(self._ids)} were not read."
            )
        if not self.predictions:
            return " ".join([*parts, NO_MASK])
        vocabulary = self._model.config.vocab_size
        parts += masked_words(len(self._masked), self.predictions, self.loss, vocabulary)
        return " ".join(parts)

    def figure(self):
        """What is shown, as a matplotlib figure."""
        from moe_lib.views.mask_playground.figure import (
            playground_figure,  # matplotlib waits for a picture
        )

        return playground_figure(self.words, self._masked, self.predictions, self.loss)

    def _known(self, words: Iterable[int], argument: str = "words") -> set[int]:
        wants = (
            f"word numbers from 0 to {len(self.words) - 1}"
            if self.words
            else "no number: there is no text"
        )
        listed = isinstance(words, Iterable) and not isinstance(words, str)
        require(listed, argument, words, f"a list of {wants}", TypeError)
        chosen = list(words)
        numbers = all(is_whole(word) for word in chosen)
        require(numbers, argument, chosen, f"a list of {wants}", TypeError)
        require(all(0 <= word < len(self.words) for word in chosen), argument, chosen, wants)
        return set(chosen)

    def _read(self, text: str) -> None:
        check_text("text", text)
        old = [word.text for word in self.words]
        ids, words, tail, cut = split_words(text, self._tokenizer, self._max_tokens)
        # A masked word stays masked while the text around it changes.
        same = SequenceMatcher(
            None, old, [word.text for word in words], autojunk=False
        ).get_matching_blocks()
        moved = {block.a + step: block.b + step for block in same for step in range(block.size)}
        masked = sorted(moved[word] for word in self._masked if word in moved)
        self._predictions = self._predicted(ids, words, masked)
        self._text, self._ids, self._words, self._tail, self._cut = text, ids, words, tail, cut
        self._masked = masked

    def _set_masked(self, words: set[int]) -> None:
        self._hide(sorted(words))
        self.view = self._view()

    def _hide(self, masked: list[int]) -> None:
        """Mask these words and no others."""
        masked = sorted(self._known(masked, "masked"))
        self._predictions = self._predicted(self._ids, self.words, masked)
        self._masked = masked

    def _predicted(self, ids: list[int], words: list, masked: list[int]) -> list:
        return predict_masked(self._model, self._tokenizer, ids, words, masked)

    def _view(self) -> dict:
        return {
            "text": self._text,
            "tail": self._tail,
            "masked": self._masked,
            "summary": self.summary,
            "problem": self._problem,
            "words": [
                {"text": word.text, "gap": word.gap, "tokens": word.last - word.first}
                for word in self.words
            ],
            "cards": [
                {
                    "word": p.word,
                    "part": p.part,
                    "true": p.true_label,
                    "loss": None if is_lost(p) else p.loss,
                    "rows": [] if is_lost(p) else rows_of(p),
                }
                for p in self.predictions
            ],
        }

"""Task heads: W x + b on the hidden states of a language model, and the loss of the task."""

from dataclasses import replace

import torch
from torch import Tensor

from moe_lib.errors import require, require_whole
from moe_lib.model import LanguageModel
from moe_lib.tuning.head_parts import POOLINGS, cross_entropy_of_several, pool
from moe_lib.tuning.span_extractor import SpanExtractor
from moe_lib.tuning.task_head import HeadOutput, TaskHead
from moe_lib.validation import require_tensor


class SequenceClassifier(TaskHead):
    """One label per text: logits = W · dropout(pool(hidden)) + b.

    pooling  "mean", "first" or "last" real token
    """

    def __init__(
        self, base: LanguageModel, n_labels: int, pooling: str = "mean", dropout: float = 0.0
    ):
        _check(n_labels, pooling)
        super().__init__(base, n_labels, dropout)
        self.pooling = pooling
        self.settings = {"n_labels": n_labels, "pooling": pooling, "dropout": dropout}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> HeadOutput:
        """input_ids, attention_mask (batch, sequence), labels (batch,) int64 -> HeadOutput, logits
        (batch, n_labels).

        Raises ValueError for labels of another shape or outside 0 … n_labels − 1, and as the base
        does.
        """
        hidden, side = self.hidden_states(input_ids, attention_mask)
        logits = self.classifier(self.dropout(pool(hidden, attention_mask, self.pooling)))
        return self._finish(logits, labels, label_smoothing, side, attention_mask)

    def count_right(self, logits: Tensor, labels: Tensor) -> int:
        """How many examples' highest logit stands at their label."""
        return int((logits.argmax(-1) == labels).sum())


class TokenClassifier(TaskHead):
    """One label per token: logits = W · dropout(hidden) + b at every position."""

    def __init__(self, base: LanguageModel, n_labels: int, dropout: float = 0.0):
        _check(n_labels)
        super().__init__(base, n_labels, dropout)
        self.settings = {"n_labels": n_labels, "dropout": dropout}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> HeadOutput:
        """labels (batch, sequence) int64, -100 at padding and wherever no label is due; see
        SequenceClassifier."""
        hidden, side = self.hidden_states(input_ids, attention_mask)
        return self._finish(
            self.classifier(self.dropout(hidden)), labels, label_smoothing, side, attention_mask
        )

    def count_right(self, logits: Tensor, labels: Tensor) -> int:
        """How many examples' highest logit stands at their label."""
        return int((logits.argmax(-1) == labels).sum())


class MultipleChoice(TaskHead):
    """Which of several texts fits: one score per text, W · pool(hidden) + b with one output,
    softmax over the texts.

    Sorting texts by their score is ranking. (b shifts all scores alike and changes no probability.)
    """

    def __init__(self, base: LanguageModel, pooling: str = "mean", dropout: float = 0.0):
        _check(1, pooling)
        super().__init__(base, 1, dropout)
        self.pooling = pooling
        self.settings = {"pooling": pooling, "dropout": dropout}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        choice_mask: Tensor | None = None,
        labels: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> HeadOutput:
        """input_ids, attention_mask (batch, choices, sequence) -> HeadOutput with logits (batch,
        choices).

        choice_mask  (batch, choices), 0 where a row has fewer choices than the longest: logit -inf,
                     not computed
        labels       (batch,) int64, the number of the right choice; or (batch, choices), 1 at every
                     right one of several: the loss is then the mean −log p over a row's right
                     choices (cross_entropy_of_several)

        Raises ValueError for labels of another shape, a right choice that choice_mask leaves out, a
        row without one.
        """
        require_tensor("input_ids", input_ids, ("batch", "choices", "sequence"), "whole")
        require(input_ids.numel() > 0, "input_ids", tuple(input_ids.shape), "at least one token")
        if attention_mask is not None:
            require_tensor("attention_mask", attention_mask, tuple(input_ids.shape))
        if choice_mask is not None:
            require_tensor("choice_mask", choice_mask, tuple(input_ids.shape[:2]), low=0, high=1)
        if labels is not None:
            require_tensor("labels", labels, dtype=("whole", bool))
        shape = input_ids.shape[:2]
        real = torch.ones(shape, dtype=torch.bool, device=input_ids.device)
        real = real if choice_mask is None else choice_mask.bool()
        require(bool(real.any()), "choice_mask", "0 everywhere", "1 at the real choices")
        mask = None if attention_mask is None else attention_mask[real]
        hidden, side = self.hidden_states(input_ids[real], mask)
        scores = self.classifier(self.dropout(pool(hidden, mask, self.pooling)))[:, 0]
        logits = torch.full(shape, -torch.inf, device=scores.device, dtype=scores.dtype)
        logits = logits.masked_scatter(real, scores)
        if labels is not None and labels.dim() == 2:
            output = self._finish(logits, None, label_smoothing, side, mask)
            right = self._several(labels, real)
            return replace(output, loss=cross_entropy_of_several(logits, right, label_smoothing))
        if labels is not None and labels.shape == shape[:1]:
            chosen = labels.clamp(0, shape[1] - 1)[:, None]
            require(
                bool(real.gather(1, chosen).all()),
                "labels",
                "a choice that choice_mask leaves out",
                "a real one",
            )
        return self._finish(logits, labels, label_smoothing, side, mask)

    def count_examples(self, labels: Tensor) -> int:
        """Rows with a label."""
        return len(labels) if labels.dim() == 2 else super().count_examples(labels)

    def count_right(self, logits: Tensor, labels: Tensor) -> int:
        """How many rows' highest logit stands at a right choice."""
        chosen = logits.argmax(-1)
        if labels.dim() == 2:
            return int(labels.gather(-1, chosen[..., None]).sum())
        return int((chosen == labels).sum())

    @staticmethod
    def _several(labels: Tensor, real: Tensor) -> Tensor:
        """Multi-hot labels (batch, choices), checked, as bool."""
        require(
            labels.shape == real.shape, "labels", tuple(labels.shape), f"shape {tuple(real.shape)}"
        )
        binary = bool(((labels == 0) | (labels == 1)).all())
        require(binary, "labels", "other numbers than 0 and 1", "1 at right choices, 0 elsewhere")
        right = labels.bool()
        require(bool(right.any(1).all()), "labels", "a row without a right choice", "at least one")
        require(
            not bool((right & ~real).any()),
            "labels",
            "a choice that choice_mask leaves out",
            "real ones",
        )
        return right


HEADS = {
    cls.__name__: cls
    for cls in (SequenceClassifier, TokenClassifier, SpanExtractor, MultipleChoice)
}


def _check(n_labels: int, pooling: str = "mean"):
    require_whole("n_labels", n_labels)
    require(pooling in POOLINGS, "pooling", pooling, f"one of {', '.join(POOLINGS)}")

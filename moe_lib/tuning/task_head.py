"""Task heads: W x + b on the hidden states of a language model, and the loss of the task.

A head is a module with its model as `.base`: whatever is trained, frozen or adapted in the base
acts through the head.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from moe_lib.errors import require, require_number, require_whole
from moe_lib.labels import IGNORED
from moe_lib.model import LanguageModel, Routing
from moe_lib.model.language_model import ModelOutput
from moe_lib.tuning.encoders import TransformersEncoder
from moe_lib.tuning.head_parts import cross_entropy
from moe_lib.validation import require_tensor


@dataclass(frozen=True)
class HeadOutput:
    """What a forward pass of a head gives.

    logits        (batch, n_labels); token by token (batch, sequence, n_labels); spans (batch,
                  sequence + 1, 2); multiple choice (batch, choices). -inf where an answer is not
                  allowed
    loss          scalar, mean cross-entropy in nats per example (per labelled token in
                  TokenClassifier); None without labels. The balance loss is not in it.
    balance_loss  scalar, and routing, one Routing per layer: as in moe_lib.model.ModelOutput
    mask          (rows, sequence) bool, the real tokens behind routing; None: all of them
    """

    logits: Tensor
    loss: Tensor | None
    balance_loss: Tensor
    routing: list[Routing | None]
    mask: Tensor | None = None


class TaskHead(nn.Module):
    """What all heads share. An encoder of transformers may be the base, too: `.base` is then a
    TransformersEncoder around it. `settings` is all that `type(head)(base, **settings)` needs to
    make it again."""

    def __init__(
        self, base: LanguageModel | TransformersEncoder | nn.Module, n_outputs: int, dropout: float
    ):
        super().__init__()
        base = _as_base(base)
        require_whole("n_outputs", n_outputs)
        require_number("dropout", dropout, at_least=0, below=1)
        self.base = base
        self.dropout = nn.Dropout(dropout)
        self.classifier = self._linear(n_outputs)
        self.settings: dict = {"dropout": dropout}

    @property
    def config(self):
        return self.base.config

    def count_examples(self, labels: Tensor) -> int:
        """How many examples the mean loss runs over: the labels that are not -100."""
        return int((labels != IGNORED).sum())

    def hidden_states(self, input_ids: Tensor, mask: Tensor | None) -> tuple[Tensor, ModelOutput]:
        """The base's, in the type of the head's own weights: heads of a half-precision base stay in
        float32, where small steps are not lost."""
        hidden, side = self.base.hidden_states(input_ids, mask)
        return hidden.to(self.classifier.weight.dtype), side

    def _linear(self, n_outputs: int) -> nn.Linear:
        linear = nn.Linear(self.base.config.hidden_size, n_outputs)
        nn.init.normal_(linear.weight, std=self.base.config.initializer_range)
        nn.init.zeros_(linear.bias)
        return linear.to(self.base.device)

    def _finish(self, logits, labels, label_smoothing, side, mask) -> HeadOutput:
        """labels: for rows of logits (..., K), class numbers of shape (...)"""
        require_number("label_smoothing", label_smoothing, at_least=0, below=1)
        loss = None
        if labels is not None:
            require_tensor("labels", labels, dtype="whole")
            wanted = logits.shape[:-1]
            require(labels.shape == wanted, "labels", tuple(labels.shape), f"shape {tuple(wanted)}")
            used = labels[labels != IGNORED]
            require(used.numel() > 0, "labels", "-100 everywhere", "at least one other label")
            low, high, top = int(used.min()), int(used.max()), logits.shape[-1] - 1
            require(
                low >= 0 and high <= top,
                "labels",
                f"labels from {low} to {high}",
                f"-100, or from 0 to {top}",
            )
            loss = cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing)
        return HeadOutput(
            logits, loss, side.balance_loss, side.routing, None if mask is None else mask.bool()
        )


def _as_base(base: object) -> LanguageModel | TransformersEncoder:
    if isinstance(base, LanguageModel | TransformersEncoder):
        return base
    wants = "a moe_lib LanguageModel, or an encoder of transformers"
    named = isinstance(base, nn.Module) and hasattr(getattr(base, "config", None), "model_type")
    require(named, "base", type(base).__name__, wants, TypeError)
    return TransformersEncoder(base)

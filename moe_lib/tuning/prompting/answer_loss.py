"""The loss of the answers without the logits of the prompts: the same numbers for less work."""

from torch import Tensor, nn

from moe_lib.errors import require, require_number
from moe_lib.labels import IGNORED
from moe_lib.model import LanguageModel
from moe_lib.tuning.head_parts import cross_entropy
from moe_lib.tuning.task_head import HeadOutput, TaskHead
from moe_lib.validation import require_tensor


class AnswerLoss(TaskHead):
    """A causal LanguageModel for `finetune`, with logits at the answers only.

    In a small model the vocabulary matrix is a good part of the work, and most tokens of a chat are
    prompt. The loss, its gradients and `base` are those of the model itself; label smoothing works
    too. Nothing is added to the base.

    Raises ValueError for a masked model.
    """

    def __init__(self, base: LanguageModel):
        nn.Module.__init__(
            self
        )  # not TaskHead's: there is no classifier, the model's own head speaks
        require(
            isinstance(base, LanguageModel),
            "base",
            type(base).__name__,
            "a moe_lib LanguageModel",
            TypeError,
        )
        require(base.config.causal, "base", "a masked language model", "a causal one")
        self.base = base
        self.settings: dict = {}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> HeadOutput:
        """input_ids, labels (batch, sequence), -100 at prompts -> logits (answer tokens, vocab),
        row by row.

        Labels are the input ids themselves, shifted inside. Raises ValueError for labels that are
        missing, all -100, or not -100 at the first token, which nothing predicts.
        """
        require(labels is not None, "labels", None, "the answers' ids, -100 elsewhere")
        require_tensor("input_ids", input_ids, ("batch", "sequence"), "whole")
        require(input_ids.numel() > 0, "input_ids", tuple(input_ids.shape), "at least one token")
        require_number("label_smoothing", label_smoothing, at_least=0, below=1)
        require_tensor("labels", labels, tuple(input_ids.shape), "whole")
        require(
            bool((labels[:, 0] == IGNORED).all()),
            "labels",
            "an answer at the first token",
            "-100 there",
        )
        hidden, side = self.base.hidden_states(input_ids, attention_mask)
        answers = labels[:, 1:] != IGNORED
        require(bool(answers.any()), "labels", "-100 at every token", "at least one answer")
        logits = self.base.head(hidden[:, :-1][answers])
        loss = cross_entropy(logits, labels[:, 1:][answers], label_smoothing)
        return HeadOutput(logits, loss, side.balance_loss, side.routing, attention_mask)

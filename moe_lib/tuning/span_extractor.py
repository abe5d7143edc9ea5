"""The head of extractive question answering."""

from contextlib import contextmanager

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.tuning.head_parts import pool
from moe_lib.tuning.task_head import HeadOutput, TaskHead
from moe_lib.validation import require_tensor


class SpanExtractor(TaskHead):
    """Extractive question answering: where the answer starts, where it ends, or that there is none.

    Every token of the passage gets a start and an end logit, W x + b. A second layer W' ·
    mean(hidden) + b' gives "no answer" a start and an end logit; it stands as one more position at
    the end. Softmax over both kinds.

    Two options of Chen et al. (2017, arXiv 1704.00051, section 3.2), for a base that has not learnt
    to compare:

    match_vector       True: a learned vector is added to the embeddings of the tokens that
                       context_mask marks with 2, the words that the question has too ("exact
                       match")
    compare_question   True: start and end logits get one more term, hᵢ · M · q / √d, q the mean
                       hidden state of the question, all tokens before the separator, and a learned
                       matrix M each, zero at first
    """

    def __init__(
        self,
        base: LanguageModel,
        dropout: float = 0.0,
        match_vector: bool = False,
        compare_question: bool = False,
    ):
        super().__init__(base, 2, dropout)
        for name, flag in (("match_vector", match_vector), ("compare_question", compare_question)):
            require(isinstance(flag, bool), name, flag, "True or False", TypeError)
        self.no_answer = self._linear(2)
        size, device = self.base.config.hidden_size, self.base.device
        # of a size with the embeddings, or it is not felt at first
        spread = self.base.embedding.weight.detach().float().std()
        self.match_vector = (
            nn.Parameter(torch.randn(size, device=device) * spread) if match_vector else None
        )
        self.compared = (
            nn.Parameter(torch.zeros(2, size, size, device=device)) if compare_question else None
        )
        self.settings = {
            "dropout": dropout,
            "match_vector": match_vector,
            "compare_question": compare_question,
        }

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        context_mask: Tensor | None = None,
        labels: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> HeadOutput:
        """-> HeadOutput with logits (batch, sequence + 1, 2): start and end of each token, "no
        answer" last.

        context_mask  (batch, sequence), 1 in the passage, 2 where match_vector is added too;
                      elsewhere logits are -inf
        labels        (batch, 2) int64: first and last token of the answer, both counted in; -1, -1
                      for no answer

        The loss is the mean of the start's and the end's cross-entropy (Devlin et al. 2019, section
        4.2). Raises ValueError for labels outside the passage or an end before its start.
        """
        if context_mask is not None:
            require_tensor("context_mask", context_mask, dtype=("whole", bool), low=0, high=2)
            require_tensor("input_ids", input_ids, ("batch", "sequence"), "whole")
            got, wanted = tuple(context_mask.shape), tuple(input_ids.shape)
            require(got == wanted, "context_mask", got, f"the shape of input_ids {wanted}")
        with self._marked(context_mask):
            hidden, side = self.hidden_states(input_ids, attention_mask)
        real = (
            torch.ones_like(input_ids, dtype=torch.bool)
            if attention_mask is None
            else attention_mask.bool()
        )
        allowed = real if context_mask is None else real & context_mask.bool()
        tokens = self.classifier(self.dropout(hidden))
        if self.compared is not None:
            tokens = tokens + self._agreement(hidden, real, allowed)
        tokens = tokens.masked_fill(~allowed[..., None], -torch.inf)
        nowhere = self.no_answer(self.dropout(pool(hidden, attention_mask, "mean")))
        logits = torch.cat([tokens, nowhere[:, None]], 1)
        if labels is not None:
            labels = self._positions(labels, allowed)
        output = self._finish(logits.transpose(1, 2), labels, label_smoothing, side, attention_mask)
        return HeadOutput(logits, output.loss, output.balance_loss, output.routing, output.mask)

    def count_examples(self, labels: Tensor) -> int:
        """Rows: one without an answer is an example, too."""
        return len(labels)

    @contextmanager
    def _marked(self, context_mask: Tensor | None):
        """Within the `with` block the base's embeddings have match_vector added wherever
        context_mask is 2."""
        if self.match_vector is None or context_mask is None:
            yield
            return
        added = (context_mask == 2)[..., None] * self.match_vector
        hook = self.base.embedding.register_forward_hook(
            lambda module, ids, embedded: embedded + added.to(embedded.dtype)
        )
        try:
            yield
        finally:
            hook.remove()

    def _agreement(self, hidden: Tensor, real: Tensor, allowed: Tensor) -> Tensor:
        """hᵢ · M · q / √d for start and end, (batch, sequence, 2)."""
        first = allowed.int().argmax(1)  # of the passage; the separator stands before it
        question = real & (torch.arange(real.shape[1], device=real.device) < first[:, None] - 1)
        require(
            bool(question.any(1).all()),
            "context_mask",
            "a row without a question",
            "the passage after at least one token and a separator, for compare_question",
        )
        q = pool(hidden, question, "mean")
        return torch.einsum("bsd,kde,be->bsk", hidden, self.compared, q) / hidden.shape[-1] ** 0.5

    @staticmethod
    def _positions(labels: Tensor, allowed: Tensor) -> Tensor:
        """-1 becomes the last position; the rest must lie in the passage, in order."""
        batch, length = allowed.shape
        require_tensor("labels", labels, dtype="whole")
        wants = f"shape {(batch, 2)}: start and end"
        require(labels.shape == (batch, 2), "labels", tuple(labels.shape), wants)
        start, end = labels.unbind(1)
        none = (start == -1) & (end == -1)
        inside = (start >= 0) & (start <= end) & (end < length)
        ends = labels.clamp(0, length - 1)
        fits = none | (inside & allowed.gather(1, ends).all(1))
        require(
            bool(fits.all()),
            "labels",
            labels[~fits][:1].tolist(),
            "-1, -1 or tokens of the passage, the start not after the end",
        )
        return torch.where(labels == -1, length, labels)

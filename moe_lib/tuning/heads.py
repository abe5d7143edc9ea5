"""Task heads: W x + b on the hidden states of a language model, and the loss of the task.

A head is a module with its model as `.base`: whatever is trained, frozen or adapted in the base
acts through the head.
"""

from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from moe_lib.errors import require, require_whole
from moe_lib.model import LanguageModel, Routing
from moe_lib.model.language_model import IGNORED
from moe_lib.tuning.head_parts import POOLINGS, cross_entropy, cross_entropy_of_several, pool


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
    """What all heads share. `settings` is all that `type(head)(base, **settings)` needs to make it
    again."""

    def __init__(self, base: LanguageModel, n_outputs: int, dropout: float):
        super().__init__()
        require(
            isinstance(base, LanguageModel),
            "base",
            type(base).__name__,
            "a moe_lib LanguageModel",
            TypeError,
        )
        require(0 <= dropout < 1, "dropout", dropout, "0 up to, not including, 1")
        self.base = base
        self.dropout = nn.Dropout(dropout)
        self.classifier = self._linear(n_outputs)
        self.settings: dict = {"dropout": dropout}

    @property
    def config(self):
        return self.base.config

    def _linear(self, n_outputs: int) -> nn.Linear:
        linear = nn.Linear(self.base.config.hidden_size, n_outputs)
        nn.init.normal_(linear.weight, std=self.base.config.initializer_range)
        nn.init.zeros_(linear.bias)
        return linear.to(self.base.device)

    def _finish(self, logits, labels, label_smoothing, side, mask) -> HeadOutput:
        """labels: for rows of logits (..., K), class numbers of shape (...)"""
        require(
            0 <= label_smoothing < 1,
            "label_smoothing",
            label_smoothing,
            "0 up to, not including, 1",
        )
        loss = None
        if labels is not None:
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
        hidden, side = self.base.hidden_states(input_ids, attention_mask)
        logits = self.classifier(self.dropout(pool(hidden, attention_mask, self.pooling)))
        return self._finish(logits, labels, label_smoothing, side, attention_mask)


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
        hidden, side = self.base.hidden_states(input_ids, attention_mask)
        return self._finish(
            self.classifier(self.dropout(hidden)), labels, label_smoothing, side, attention_mask
        )


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
        self.no_answer = self._linear(2)
        size, device = base.config.hidden_size, base.device
        spread = (
            base.embedding.weight.detach().std()
        )  # of a size with the embeddings, or it is not felt at first
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
        with self._marked(context_mask):
            hidden, side = self.base.hidden_states(input_ids, attention_mask)
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

    @contextmanager
    def _marked(self, context_mask: Tensor | None):
        """Within the `with` block the base's embeddings have match_vector added wherever
        context_mask is 2."""
        if self.match_vector is None or context_mask is None:
            yield
            return
        added = (context_mask == 2)[..., None] * self.match_vector
        hook = self.base.embedding.register_forward_hook(
            lambda module, ids, embedded: embedded + added
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
        require(
            labels.shape == (batch, 2),
            "labels",
            tuple(labels.shape),
            f"shape {(batch, 2)}: start and end",
        )
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
        require(
            input_ids.dim() == 3,
            "input_ids",
            tuple(input_ids.shape),
            "shape (batch, choices, sequence)",
        )
        shape = input_ids.shape[:2]
        real = torch.ones(shape, dtype=torch.bool, device=input_ids.device)
        real = real if choice_mask is None else choice_mask.bool()
        require(real.shape == shape, "choice_mask", tuple(real.shape), f"shape {tuple(shape)}")
        mask = None if attention_mask is None else attention_mask[real]
        hidden, side = self.base.hidden_states(input_ids[real], mask)
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


def count_examples(model: nn.Module, labels: Tensor) -> int:
    """How many examples `model`'s mean loss runs over: what a mean must be weighed by to join it
    with others.

    Rows; labelled tokens for a TokenClassifier and a LanguageModel (a causal one does not predict
    its first).
    """
    if isinstance(model, LanguageModel | TokenClassifier):
        shifted = isinstance(model, LanguageModel) and model.config.causal
        return int(((labels[:, 1:] if shifted else labels) != IGNORED).sum())
    if isinstance(model, SpanExtractor) or (
        isinstance(model, MultipleChoice) and labels.dim() == 2
    ):
        return len(labels)
    return int((labels != IGNORED).sum())


def _check(n_labels: int, pooling: str = "mean"):
    require_whole("n_labels", n_labels)
    require(pooling in POOLINGS, "pooling", pooling, f"one of {', '.join(POOLINGS)}")

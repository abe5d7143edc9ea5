"""The article on masked language models: a function for the test of each of three statements
(the rows condition-of-the-loss, predicts-a-position and reversed-gradient of the ledger).

conditional_gradients()    the gradients of log P(w | ŵ) and of log P(ŵ | w), of one joint model
unigram_loss(…)            the best that a model can do which sees the masked token alone
swapped_labels(…)          the same true tokens, each at another gap of its row
"""

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.labels import IGNORED
from moe_lib.validation import Count, checked, require_tensor


def conditional_gradients(theta: Tensor) -> list[dict[str, Tensor]]:
    """Of a joint model of words and masked words, a row per pair (w, ŵ).

    theta (words, masked words)   the logits of one softmax over all pairs
    Each row: w, masked; "given the masked word", "given the word", the two gradients with respect
    to theta; "of the marginals", the gradient of log p(w) - log p(ŵ), which Bayes' rule says is
    their difference. All (words, masked words).
    """
    require_tensor("theta", theta, ("words", "masked words"), "floating", finite=True)
    theta = theta.detach().clone().requires_grad_()
    log_joint = theta.flatten().log_softmax(0).view(theta.shape)
    log_word, log_masked = log_joint.logsumexp(1), log_joint.logsumexp(0)

    def gradient(value: Tensor) -> Tensor:
        return torch.autograd.grad(value, theta, retain_graph=True)[0]

    return [
        {
            "w": torch.tensor(w),
            "masked": torch.tensor(m),
            "given the masked word": gradient(log_joint[w, m] - log_masked[m]),
            "given the word": gradient(log_joint[w, m] - log_word[w]),
            "of the marginals": gradient(log_word[w] - log_masked[m]),
        }
        for w in range(theta.shape[0])
        for m in range(theta.shape[1])
    ]


@checked
def unigram_loss(read: Tensor, labels: Tensor, vocab_size: Count) -> float:
    """Nats per label of a model that knows the frequencies in `read`, ids of any shape, and nothing
    else. labels: ids, -100 where there is none. Held-out labels need a frequency learnt elsewhere:
    one counted on the labels themselves is an entropy, which no model can be held to."""
    require_tensor("read", read, dtype="whole", low=0, high=vocab_size - 1)
    require_tensor("labels", labels, dtype="whole", low=IGNORED, high=vocab_size - 1)
    labels = labels[labels != IGNORED]
    require(len(labels) > 0, "labels", f"nothing but {IGNORED}", "at least one label")
    require(int(labels.min()) >= 0, "labels", int(labels.min()), f"ids from 0 on, or {IGNORED}")
    counts = torch.bincount(read.flatten(), minlength=vocab_size) + 1.0  # (vocab_size,)
    surprise = -(counts / counts.sum()).log()
    return float(surprise[labels].mean())


def swapped_labels(labels: Tensor) -> Tensor:
    """labels (rows, sequence) with the true tokens of each row moved to the next of its gaps."""
    require_tensor("labels", labels, ("rows", "sequence"), "whole")
    swapped = labels.clone()
    for row in swapped:
        places = (row != IGNORED).nonzero()[:, 0]
        row[places] = row[places.roll(1)]
    return swapped

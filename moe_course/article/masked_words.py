"""The article on masked language models: three claims, and a function that tests each.

conditional_gradients()    the gradients of log P(w | ŵ) and of log P(ŵ | w), of one joint model
unigram_loss(…)            the best that a model can do which sees the masked token alone
swapped_labels(…)          the same true tokens, each at another gap of its row
"""

import torch
from torch import Tensor

from moe_course.article.claim import Claim
from moe_lib.errors import require
from moe_lib.labels import IGNORED
from moe_lib.validation import Count, checked, require_tensor

EQUAL_GRADIENTS = Claim(
    section="4.2.1",
    quote=r"$\frac{\partial \log P(w_i | \hat{w}_i)}{\partial \theta} = "
    r"\frac{\partial \log P(\hat{w}_i | w_i)}{\partial \theta}$",
    english="Backpropagation: the gradient of the true word given the masked one equals that of "
    "the masked word given the true one.",
    verdict=r"If $P(\hat w\mid w)$ is the corruption, it is a fixed recipe without $\theta$: its "
    "gradient is zero, and nothing would be learnt. If both are conditionals of one joint model, "
    r"Bayes' rule gives $\log p(w\mid\hat w)-\log p(\hat w\mid w)=\log p(w)-\log p(\hat w)$, so "
    "they differ wherever the gradients of the marginals do. The right gradient moves belief "
    "among words, given what was seen; the article's moves it among masked words, given the "
    "answer.",
)
MASK_ALONE = Claim(
    section="4.1",
    quote=r"$\mathcal{L}_{mask} = -\frac{1}{N}\sum_{i=1}^N \log P(w_i | \hat{w}_i)$, "
    r"其中 $w_i$ 为真实单词，$\hat{w}_i$ 为掩码后的单词。",
    english=r"$w_i$ is the true word, $\hat w_i$ the word after masking.",
    verdict="A model that sees only the mask token gets the same input at every gap, so it can "
    "learn one distribution and no more: the frequencies of the tokens. A model that sees the "
    "whole corrupted sentence does better on the same gaps.",
)
PREDICTED_POSITION = Claim(
    section="4.1",
    quote="目标是让模型预测被掩码单词的正确位置",
    english="The goal is to let the model predict the correct position of the masked word.",
    verdict="Where the gaps are is part of the question: a rule without parameters reads it off "
    "the input. The answer is one probability per token of the vocabulary, not per position. With "
    "the true tokens of a row exchanged among its gaps, a model that answered with places could "
    "not tell the difference; the loss does.",
)
CLAIMS = (EQUAL_GRADIENTS, MASK_ALONE, PREDICTED_POSITION)


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

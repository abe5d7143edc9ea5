"""Checks of the exercises of chapter 03, the transformer."""

import math

import torch
import torch.nn.functional as F

from moe_course.checks.cached_logits import check_cached_logits
from moe_course.checks.comparisons import expect_close, expect_equal, expect_true
from moe_course.checks.waves import check_waves
from moe_lib import LanguageModel, ModelConfig


def _hides_the_past(weights):
    return weights.shape[-1] > 1 and weights.tril(-1).abs().max() == 0


def _hides_itself(weights):
    return bool((weights.diagonal(dim1=-2, dim2=-1)[..., 1:] == 0).all())


def _columns_sum_to_one(weights):
    return torch.allclose(weights.sum(-2), torch.ones(weights.shape[:-1]), atol=1e-4)


def check_causal_weights(causal_weights):
    for batch, heads, length, width in ((1, 1, 4, 6), (2, 3, 5, 8)):
        query, key = torch.randn(2, batch, heads, length, width)
        identity = torch.eye(length).expand(
            batch, heads, length, length
        )  # as values: the output is the weights
        expected = F.scaled_dot_product_attention(query, key, identity, is_causal=True)
        scores = query @ key.transpose(-1, -2) / math.sqrt(width)
        everything = scores.softmax(-1)
        future = torch.ones(length, length).triu(1).bool()
        unscaled = (scores * math.sqrt(width)).masked_fill(future, -torch.inf).softmax(-1)
        expect_close(
            causal_weights(query, key),
            expected,
            f"the weights of {length} tokens",
            hints={
                "this is what an unmasked softmax gives: which tokens may token 0 "
                "look at?": everything,
                "the weights on the future are 0, but rows do not sum to 1: mask the scores, "
                "before the softmax": everything.masked_fill(future, 0.0),
                "a masked score of 0 still gets a weight, since exp(0) = 1: which score "
                "becomes a weight of 0?": scores.masked_fill(future, 0.0).softmax(-1),
                "the mask hides the past and shows the future: it is the wrong "
                "way round": _hides_the_past,
                "no token sees itself: the diagonal should stay visible": _hides_itself,
                "the mask is right; the scores are not divided by the square root of the "
                "head size": unscaled,
                "the scores are divided by d, not by its square root": (
                    (scores / math.sqrt(width)).masked_fill(future, -torch.inf).softmax(-1)
                ),
                "the scores are divided by the square root of the number of tokens: which "
                "number makes a score large?": (
                    (scores * math.sqrt(width / length)).masked_fill(future, -torch.inf).softmax(-1)
                ),
                "the next token is seen: the mask begins one place too late": (
                    scores.masked_fill(future.triu(2), -torch.inf).softmax(-1)
                ),
                "query and key are exchanged: a row is a token that looks": (
                    scores.mT.masked_fill(future, -torch.inf).softmax(-1)
                ),
                "the columns sum to 1: the softmax should run over the keys, the last "
                "dimension": _columns_sum_to_one,
            },
        )
    return "Masked before the softmax, and every row sums to 1."


def check_count(count_dense):
    for causal, sizes in ((False, (31, 24, 3, 20)), (True, (50, 8, 1, 12))):  # several layers first
        vocabulary, hidden, layers, intermediate = sizes
        config = ModelConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=intermediate,
            causal=causal,
        )
        expected = sum(parameter.numel() for parameter in LanguageModel(config).parameters())
        answer = count_dense(*sizes)
        expect_true(
            not isinstance(answer, float), f"count_dense{sizes} is a float; want a whole number."
        )
        norms = (2 * layers + 1) * hidden
        one_block = 4 * hidden * hidden + 3 * hidden * intermediate + 2 * hidden
        count_one = vocabulary * hidden + one_block
        expect_equal(
            answer,
            expected,
            f"count_dense{sizes}",
            hints={
                "the embedding is counted twice: the output layer uses the same matrix": expected
                + vocabulary * hidden,
                "the embedding is missing: a row of it for each token": expected
                - vocabulary * hidden,
                "one norm too many at the end": expected + hidden,
                "the norms are missing: two in each block and one at the end": expected - norms,
                "each block has two norms, you count one": expected - layers * hidden,
                "the last norm, after all blocks, is missing": expected - hidden,
                "the attention matrices have no biases": expected + 4 * layers * hidden,
                "the SwiGLU matrices have no biases": expected
                + layers * (2 * intermediate + hidden),
                "no matrix here has biases, in attention or in SwiGLU": expected
                + layers * (5 * hidden + 2 * intermediate),
                "an RMSNorm has no bias, only a weight": expected + norms,
                "the output layer has no bias": expected + vocabulary,
                "SwiGLU has three matrices, not two": expected - layers * hidden * intermediate,
                "attention has four matrices: query, key, value and output": expected
                - layers * hidden * hidden,
                "this is one block, but there are several": count_one + hidden,
                "the matrices of one block are right, but there are several blocks": count_one
                + norms
                - 2 * hidden,
            },
        )
    return "Right to the last parameter."


CHECKS = {
    "03.1": check_causal_weights,
    "03.2": check_waves,
    "03.3": check_cached_logits,
    "03.4": check_count,
}

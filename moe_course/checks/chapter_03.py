"""Checks of the exercises of chapter 03, the transformer."""

import math

import torch
import torch.nn.functional as F

from moe_course.checks.comparisons import expect_close, expect_equal, expect_true
from moe_lib import LanguageModel, ModelConfig
from moe_lib.model import KVCache, rotary_angles, rotate


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
                "the columns sum to 1: the softmax should run over the keys, the last "
                "dimension": _columns_sum_to_one,
            },
        )
    return "Masked before the softmax, and every row sums to 1."


def check_relative_score(relative_score):
    for width, theta in ((4, 10_000.0), (10, 50.0)):
        query, key = torch.randn(2, width)
        for distance in (0, 1, 7, 300):
            places = torch.tensor(
                [[distance + 5, 5]]
            )  # the query stands `distance` to the right of the key
            turned = rotate(
                torch.stack((query, key))[None, None], rotary_angles(places, width, theta)
            )[0, 0]
            expected = turned[0] @ turned[1]
            answer = relative_score(query, key, distance, theta)
            expect_true(
                not isinstance(answer, torch.Tensor) or not answer.is_complex(),
                "You return a complex number. The score is its real part.",
            )
            mirrored = rotate(
                torch.stack((query, key))[None, None], rotary_angles(places.flip(1), width, theta)
            )[0, 0]
            angle = distance * theta ** (-torch.arange(0, width, 2) / width)
            pairs_q, pairs_k = (
                torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) for x in (query, key)
            )
            turn = torch.polar(torch.ones_like(angle), angle)
            expect_close(
                answer,
                expected,
                f"the score at distance {distance}, theta {theta:g}",
                hints={
                    "this is the score without any rotation: where does the distance "
                    "come in?": query @ key,
                    "this is the score at minus the distance: change the sign of the angle, "
                    "or conjugate the other one": mirrored[0] @ mirrored[1],
                    "conjugate the key: a product of two complex numbers adds their angles, "
                    "you want the difference": (pairs_q * pairs_k * turn).real.sum(),
                    "do not divide by √d here": expected / math.sqrt(width),
                },
                atol=1e-3,
            )
    return "One rotation, by the distance, does the work of two."


def check_cached_logits(next_logits):
    torch.manual_seed(3)
    config = ModelConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        max_position_embeddings=32,
        initializer_range=0.3,
    )
    model = LanguageModel(config).eval()
    ids = torch.randint(0, 50, (1, 12))
    with torch.no_grad():
        right = model(ids).logits
    for prompt in (1, 5):
        cache = KVCache()
        expect_close(
            next_logits(model, ids[:, :prompt], cache),
            right[:, prompt - 1],
            f"the logits after a prompt of {prompt}, with an empty cache",
            atol=1e-4,
        )
        for position in range(prompt, 12):
            answer = next_logits(model, ids[:, position : position + 1], cache)
            expect_equal(cache.length, position + 1, "the number of tokens in the cache")
            expect_close(
                answer,
                right[:, position],
                f"the logits after {position + 1} tokens, {position} of them from the cache",
                hints={
                    "the prompt came out right, a later token did not": lambda logits: bool(
                        torch.isfinite(logits).all()
                    )
                },
                atol=1e-4,
            )
    return "With the cache and without it: the same logits."


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
        expect_equal(
            answer,
            expected,
            f"count_dense{sizes}",
            hints={
                "the embedding is counted twice: the output layer uses the same matrix": expected
                + vocabulary * hidden,
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
                "the matrices of one block are right, but there are several blocks": vocabulary
                * hidden
                + norms
                + 4 * hidden * hidden
                + 3 * hidden * intermediate,
            },
        )
    return "Right to the last parameter."


CHECKS = {
    "03.1": check_causal_weights,
    "03.2": check_relative_score,
    "03.3": check_cached_logits,
    "03.4": check_count,
}

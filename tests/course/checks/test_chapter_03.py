"""Wrong answers to the exercises of chapter 03: each is refused, with the hint that fits it."""

import math
import re

import pytest
import torch

from moe_course import check
from moe_lib.model import KVCache, rotary_angles, rotate


def scores(query, key):
    return query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])


def future(s):
    return torch.ones(s.shape[-2:]).triu(1).bool()


def causal_weights(query, key):
    s = scores(query, key)
    return s.masked_fill(future(s), -torch.inf).softmax(-1)


def masked_with(change):
    """The softmax of scores that `change` masks."""
    return lambda query, key: change(scores(query, key)).softmax(-1)


def zeros_after(query, key):
    return scores(query, key).softmax(-1).tril()


def first_two(query, key):
    """The mask of the batch and head, not of the tokens."""
    s = scores(query, key)
    return s.masked_fill(future(s), -torch.inf).softmax(1)


def unscaled(query, key):
    s = query @ key.transpose(-1, -2)
    return s.masked_fill(future(s), -torch.inf).softmax(-1)


def scaled_by_d(query, key):
    s = query @ key.transpose(-1, -2) / query.shape[-1]
    return s.masked_fill(future(s), -torch.inf).softmax(-1)


def scaled_by_length(query, key):
    s = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-2])
    return s.masked_fill(future(s), -torch.inf).softmax(-1)


WEIGHTS = {
    "no mask": (masked_with(lambda s: s), "which tokens may token 0 look at"),
    "after the softmax": (zeros_after, "rows do not sum to 1"),
    "a score of 0": (masked_with(lambda s: s.masked_fill(future(s), 0.0)), r"exp\(0\) = 1"),
    "the past hidden": (
        masked_with(lambda s: s.masked_fill(future(s).mT, -torch.inf)),
        "the wrong way round",
    ),
    "itself hidden": (
        masked_with(lambda s: s.masked_fill(future(s) | torch.eye(s.shape[-1]).bool(), -1e9)),
        "no token sees itself",
    ),
    "itself hidden, NaN": (
        masked_with(lambda s: s.masked_fill(future(s) | torch.eye(s.shape[-1]).bool(), -torch.inf)),
        "NaN",
    ),
    "one too many seen": (
        masked_with(lambda s: s.masked_fill(future(s).triu(2), -torch.inf)),
        "the next token is seen",
    ),
    "not scaled": (unscaled, "not divided by the square root"),
    "divided by d": (scaled_by_d, "divided by d, not by its square root"),
    "divided by the length": (scaled_by_length, "number of tokens"),
    "softmax over queries": (
        lambda q, k: scores(q, k).masked_fill(future(scores(q, k)), -torch.inf).softmax(-2),
        "the columns sum to 1",
    ),
    "softmax over heads": (first_two, "NaN|softmax"),
    "key looks at query": (lambda q, k: causal_weights(k, q), "query and key are exchanged"),
    "renormalised too late": (
        lambda q, k: zeros_after(q, k) / 2,
        "weights of",
    ),
    "no last axes": (lambda q, k: causal_weights(q, k)[0], "shape"),
}


def pairs(x):
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())


def halves(x):
    return torch.complex(*x.chunk(2))


def waves(query, key, pairs=pairs):
    product = pairs(query) * pairs(key).conj()
    return product.abs(), product.angle()


def turned(query_at, key_at):
    """Both vectors turned by their places first, as attention does it."""

    def answer(query, key):
        angles = rotary_angles(torch.tensor([query_at, key_at]), len(query))
        query, key = rotate(torch.stack((query, key))[None, None], angles[None])[0, 0]
        return waves(query, key)

    return answer


def phase(change):
    return lambda q, k: (waves(q, k)[0], change(pairs(q), pairs(k)))


def strength(change):
    return lambda q, k: (change(pairs(q), pairs(k)), waves(q, k)[1])


WAVES = {
    "both turned, 7 and 0": (turned(7, 0), "have been turned, by a distance of 7"),
    "both turned, 5 and 8": (turned(5, 8), "have been turned, by a distance of -3"),
    "query turned": (turned(1, 0), "have been turned, by a distance of 1"),
    "key's angle less the query's": (phase(lambda q, k: (k * q.conj()).angle()), "other way round"),
    "angles added": (phase(lambda q, k: (q * k).angle()), "one of them counts backwards"),
    "query's angle": (phase(lambda q, k: q.angle()), "the query's angle alone"),
    "key's angle": (phase(lambda q, k: k.angle()), "the key's angle alone"),
    "degrees": (phase(lambda q, k: (q * k.conj()).angle().rad2deg()), "these are degrees"),
    "atan of a quotient": (
        phase(lambda q, k: ((q * k.conj()).imag / (q * k.conj()).real).atan()),
        "half a turn away",
    ),
    "no phase": (phase(lambda q, k: torch.zeros(len(q))), "plain dot product"),
    "halves": (lambda q, k: waves(q, k, halves), "a pair is two neighbours"),
    "halves in the phase": (
        lambda q, k: (waves(q, k)[0], waves(q, k, halves)[1]),
        "a pair is two neighbours",
    ),
    "real part": (strength(lambda q, k: (q * k.conj()).real), "the score at distance 0"),
    "sizes added": (strength(lambda q, k: q.abs() + k.abs()), "multiplied, not added"),
    "squared": (strength(lambda q, k: (q * k).abs() ** 2), "the square of the strength"),
    "query's size": (strength(lambda q, k: q.abs()), "the query's size alone"),
    "divided": (strength(lambda q, k: (q * k).abs() / (2 * len(q)) ** 0.5), "√d"),
    "exchanged": (lambda q, k: waves(q, k)[::-1], "the strength first"),
    "complex": (strength(lambda q, k: q * k.conj()), "a size and an angle are real"),
    "one number": (lambda q, k: (q @ k, torch.zeros(())), "shape"),
    "score alone": (lambda q, k: q @ k, "two tensors"),
}


@torch.no_grad()
def following(model, fresh, cache, places=None, read=-1, norm=True, keep=True, start=None):
    past = cache.length
    new = fresh.shape[1]
    places = torch.arange(past, past + new) if places is None else places(past, new)
    angles = rotary_angles(places[None], model.config.head_dim, model.config.rope_theta)
    hidden = model.embedding(fresh)
    for layer in model.layers:
        hidden, _ = layer(hidden, angles, None, cache if keep else None)
    hidden = hidden if read is None else hidden[:, read]
    return model.head(model.norm(hidden) if norm else hidden)


def wrong_cache(**change):
    return lambda *arguments: following(*arguments, **change)


def fresh_cache(model, fresh, cache):
    return following(model, fresh, KVCache())


@torch.no_grad()
def length_in_the_loop(model, fresh, cache):
    hidden = model.embedding(fresh)
    for layer in model.layers:
        places = torch.arange(cache.length, cache.length + fresh.shape[1])
        angles = rotary_angles(places[None], model.config.head_dim, model.config.rope_theta)
        hidden, _ = layer(hidden, angles, None, cache)
    return model.head(model.norm(hidden[:, -1]))


def other_speeds(model, fresh, cache):
    config, model.config = model.config, model.config.replace(rope_theta=500.0)
    try:
        return following(model, fresh, cache)
    finally:
        model.config = config


CACHE = {
    "from 0 again": (
        wrong_cache(places=lambda p, n: torch.arange(n)),
        "be told of the tokens that are new",
    ),
    "one too far left": (
        wrong_cache(places=lambda p, n: torch.arange(max(p - 1, 0), max(p - 1, 0) + n)),
        "too far left",
    ),
    "one too far right": (
        wrong_cache(places=lambda p, n: torch.arange(p + (p > 0), p + (p > 0) + n)),
        "too far right",
    ),
    "all at one place": (
        wrong_cache(places=lambda p, n: torch.full((n,), p)),
        "all new tokens stand at the same place",
    ),
    "first of the new": (wrong_cache(read=0), "the first of the new tokens"),
    "all of the new": (wrong_cache(read=None), "shape|the last one"),
    "no norm": (wrong_cache(norm=False), "the last norm is missing"),
    "cache not given": (wrong_cache(keep=False), "none is kept"),
    "a cache of its own": (fresh_cache, "none is kept"),
    "length in the loop": (length_in_the_loop, "a later token did not"),
    "other speeds": (other_speeds, "the logits after|a later token"),
}


def count_dense(v, h, n, m, **change):
    sizes = dict(embeddings=1, matrices=4, swiglu=3, block_norms=2, last=1, blocks=n) | change
    block = sizes["matrices"] * h * h + sizes["swiglu"] * h * m + sizes["block_norms"] * h
    return sizes["embeddings"] * v * h + sizes["blocks"] * block + sizes["last"] * h


def counted(extra=lambda v, h, n, m: 0, **change):
    return lambda *sizes: count_dense(*sizes, **change) + extra(*sizes)


COUNT = {
    "embedding twice": (counted(embeddings=2), "the embedding is counted twice"),
    "no embedding": (counted(embeddings=0), "the embedding is missing"),
    "no norms": (counted(block_norms=0, last=0), "the norms are missing"),
    "one norm a block": (counted(block_norms=1), "each block has two norms"),
    "no last norm": (counted(last=0), "the last norm"),
    "two SwiGLU matrices": (counted(swiglu=2), "SwiGLU has three matrices"),
    "three attention matrices": (counted(matrices=3), "attention has four matrices"),
    "biases in attention": (counted(lambda v, h, n, m: 4 * n * h), "no biases"),
    "biases everywhere": (counted(lambda v, h, n, m: n * (5 * h + 2 * m)), "biases"),
    "a bias in the head": (counted(lambda v, h, n, m: v), "output layer has no bias"),
    "positions": (counted(lambda v, h, n, m: 32 * h), "want"),
    "one block": (counted(blocks=1), "one block, but there are several"),
    "a float": (lambda *sizes: float(count_dense(*sizes)), "a float; want a whole number"),
    "all norms of all blocks": (counted(last=2), "one norm too many at the end"),
}

WRONG = {"03.1": WEIGHTS, "03.2": WAVES, "03.3": CACHE, "03.4": COUNT}


@pytest.mark.parametrize(
    "exercise, name", [(exercise, name) for exercise in WRONG for name in WRONG[exercise]]
)
def test_a_wrong_answer_is_refused_with_its_hint(exercise, name):
    answer, words = WRONG[exercise][name]
    verdict = check(exercise, answer)
    assert verdict.status == "not yet", verdict
    assert re.search(words, verdict.message), verdict.message
    assert "stopped at" not in verdict.message


@pytest.mark.parametrize(
    "exercise, answer",
    [
        ("03.1", causal_weights),
        ("03.1", masked_with(lambda s: s.masked_fill(future(s), -1e9))),
        ("03.2", waves),
        ("03.2", phase(lambda q, k: (q * k.conj()).angle() + 2 * math.pi)),
        ("03.2", phase(lambda q, k: q.angle() - k.angle())),
        ("03.3", following),
        ("03.3", wrong_cache(places=lambda past, new: torch.arange(past, past + new) + 7)),
        ("03.4", count_dense),
    ],
)
def test_right_answers_of_several_kinds_pass(exercise, answer):
    assert check(exercise, answer).passed, check(exercise, answer)


def test_each_exercise_has_at_least_six():
    assert min(map(len, WRONG.values())) >= 6

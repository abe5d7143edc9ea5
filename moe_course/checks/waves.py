"""The check of exercise 03.2: a rotary score as a sum of waves over the distance."""

import math

import torch

from moe_course.checks.comparisons import expect_answer, expect_close, expect_shape, expect_true
from moe_lib.model import rotary_angles, rotate


def check_waves(waves):
    for width, theta in ((4, 10_000.0), (10, 50.0)):
        query, key = torch.randn(2, width)
        answer = waves(query, key)
        expect_answer(answer, "waves(query, key)")
        two = isinstance(answer, tuple | list) and len(answer) == 2
        expect_true(two, "waves should return two tensors: strength, phase.")
        for value, name in zip(answer, ("strength", "phase"), strict=True):
            expect_shape(value, (width // 2,), name)
            real = not value.is_complex()
            expect_true(real, f"The {name} is complex; a size and an angle are real numbers.")
        q, k = _pairs(query), _pairs(key)
        strength, phase = answer
        _expect_strength(strength, phase, q, k)
        message = _wrong_phase(phase, q, k, width)
        expect_true(not message, f"the phases: {message}")
        _expect_scores(answer, query, key, theta)
    return "A score is a sum of waves over the distance; nobody was turned."


def _pairs(x):
    """(d,) -> (d / 2,) complex"""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())


def _expect_strength(strength, phase, q, k) -> None:
    width = 2 * len(q)
    halves = [torch.complex(*x.chunk(2)) for x in map(_flat, (q, k))]
    hints = {
        "they are exchanged: return the strength first, then the phase": lambda _: (
            _same_turn(strength, (q * k.conj()).angle())
            and torch.allclose(phase, (q * k).abs(), atol=1e-4)
        ),
        "you pair the first half of the numbers with the second: a pair is two neighbours": (
            halves[0] * halves[1]
        ).abs(),
        "this is the real part of the products, the score at distance 0: how large is each "
        "complex number?": (q * k.conj()).real,
        "sizes are multiplied, not added": q.abs() + k.abs(),
        "this is the square of the strength": (q * k).abs().square(),
        "this is the query's size alone": q.abs(),
        "this is the key's size alone": k.abs(),
        "do not divide by √d here": (q * k).abs() / math.sqrt(width),
    }
    expect_close(strength, (q * k).abs(), "the strengths", hints, atol=1e-4)


def _flat(pairs):
    return torch.view_as_real(pairs).flatten()


def _same_turn(one, other) -> bool:
    """Whether two angles are the same but for whole turns."""
    return bool(((one - other + math.pi) % (2 * math.pi) - math.pi).abs().max() < 1e-3)


def _wrong_phase(phase, q, k, width: int) -> str:
    """What is wrong with the phases, "" if nothing is. Whole turns do not count."""
    right = (q * k.conj()).angle()
    if _same_turn(phase, right):
        return ""
    halves = [torch.complex(*x.chunk(2)) for x in map(_flat, (q, k))]
    wrong = {
        "the other way round: does the query turn on ahead of the key, or behind it?": -right,
        "a product of two complex numbers adds their angles; here one of them counts backwards": (
            q * k
        ).angle(),
        "this is the query's angle alone: where does the key stand?": q.angle(),
        "this is the key's angle alone": k.angle(),
        "these are degrees; the formula wants radians": right.rad2deg(),
        "you pair the first half of the numbers with the second: a pair is two neighbours": (
            halves[0] * halves[1].conj()
        ).angle(),
        "half a turn away: look at the sign of the real part (atan2 does, atan of a quotient "
        "does not)": (q * k.conj()).imag.div((q * k.conj()).real).atan(),
    }
    for message, value in wrong.items():
        if _same_turn(phase, value):
            return message
    for theta in (10_000.0, 50.0, 1.0):
        step = theta ** (-torch.arange(0, width, 2) / width)
        for distance in (*range(-8, 9), 300):
            if _same_turn(phase, right + distance * step):
                return (
                    f"the vectors have been turned, by a distance of {distance}: the wave is the "
                    "same for every distance, and the distance comes in later"
                )
    return (
        "at distance 0 nothing is turned, and the waves should add up to the plain dot product; "
        "they do not"
    )


def _expect_scores(answer, query, key, theta) -> None:
    """The waves, read off at several distances, are the library's scores of turned vectors."""
    strength, phase = answer
    width = len(query)
    speed = theta ** (-torch.arange(0, width, 2) / width)
    for distance in (0, 1, 7, 300):
        places = torch.tensor([[distance + 5, 5]])
        angles = rotary_angles(places, width, theta)
        turned = rotate(torch.stack((query, key))[None, None], angles)[0, 0]
        score = (strength * (distance * speed + phase).cos()).sum()
        expect_close(score, turned[0] @ turned[1], f"the score at distance {distance}", atol=1e-3)

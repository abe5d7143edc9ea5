"""The simulation's clocks, by hand-worked schedules; waste, counted anew."""

import math

import pytest

from moe_lib.serving import Arrival, Engine, Request, StaticBatches, poisson_arrivals, simulate
from tests.serving.test_engine import LATENT, alone, model_of


@pytest.fixture(scope="module")
def model():
    return model_of(**LATENT)


def at(time: float, prompt: int, new: int) -> Arrival:
    return Arrival(time, Request([1 + int(time)] * prompt, new))


def moments(found) -> list[tuple[float, float, float]]:
    return [(r.arrived.passes, r.first.passes, r.ended.passes) for r in found.requests]


def test_one_by_one_by_hand(model):
    found = simulate(
        StaticBatches(model, max_running=1), [at(0, 3, 4), at(1, 2, 2), at(50, 1, 1)], "passes"
    )
    assert moments(found) == [(0, 1, 4), (1, 5, 6), (50, 51, 51)]
    assert (found.work.passes, found.work.tokens, found.work.padded) == (7, 7, 0)
    assert found.requests[1].waited("passes") == 4 and found.requests[1].took("passes") == 5
    assert found.quantile("took", 0.0, "passes") == 1 and found.quantile("took", 1.0, "passes") == 5


def test_a_padded_batch_by_hand(model):
    """Prompts of 3 and 1 beside each other: 2 padded. One ends 3 passes before the other."""
    found = simulate(
        StaticBatches(model, max_running=2), [at(0, 3, 5), at(0, 1, 2), at(2, 4, 1)], "passes"
    )
    assert moments(found) == [(0, 1, 5), (0, 1, 2), (2, 6, 6)]
    assert found.work.positions == 2 * 3 + 2 * 4 + 4
    assert found.work.padded == 2 + 3


def test_continuous_by_hand(model):
    """The second comes during the first pass: its prompt is read in the second step, beside one
    token of the first. A step of both is two passes, which the clock counts."""
    found = simulate(Engine(model, max_running=2), [at(0, 3, 5), at(0.5, 2, 2)], "passes")
    assert moments(found) == [(0, 1, 6), (0.5, 3, 4)]
    assert found.work.passes == 6 and found.work.padded == 0
    assert found.work.positions == 3 + 4 + 2 + 1


def test_packed_by_length_puts_like_to_like(model):
    arrivals = [at(0, 2, 2), at(0, 2, 20), at(0, 2, 3), at(0, 2, 19)]
    packed = simulate(StaticBatches(model, max_running=2, order="length"), arrivals)
    mixed = simulate(StaticBatches(model, max_running=2), arrivals)
    assert packed.work.padded == 2 and mixed.work.padded == 18 + 16
    assert packed.work.passes == 3 + 20 and mixed.work.passes == 20 + 19


def test_all_ways_write_the_same_and_continuous_wastes_nothing(model):
    arrivals = poisson_arrivals(20, 0.5, vocab_size=97, new_tokens=(2, 40), seed=3)
    expected = [tuple(alone(model, one.request)) for one in arrivals]
    ways = [Engine(model), StaticBatches(model), StaticBatches(model, order="length")]
    found = [simulate(way, arrivals) for way in ways]
    for one in found:
        assert [served.tokens for served in one.requests] == expected
        useful = sum(len(a.request.input_ids) + a.request.max_new_tokens - 1 for a in arrivals)
        assert one.work.positions - one.work.padded == useful
        assert one.seconds > 0 and one.throughput > 0
    continuous, static, packed = found
    assert continuous.work.waste == 0 < packed.work.waste < static.work.waste
    waits = [one.quantile("waited", 0.5, "passes") for one in found]
    assert waits[0] < waits[1]


def test_arrivals_are_a_poisson_process():
    how = dict(vocab_size=50, prompt_tokens=(2, 9), new_tokens=(1, 30))
    arrivals = poisson_arrivals(4000, 0.25, **how, seed=1)
    times = [one.time for one in arrivals]
    gaps = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    mean = sum(gaps) / len(gaps)
    assert abs(mean - 4) < 0.3 and min(gaps) > 0  # 1 / rate
    assert abs(sum(gap > 4 for gap in gaps) / len(gaps) - math.exp(-1)) < 0.03
    lengths = [one.request.max_new_tokens for one in arrivals]
    assert (min(lengths), max(lengths)) == (1, 30)
    assert {len(one.request.input_ids) for one in arrivals} == set(range(2, 10))
    assert arrivals == poisson_arrivals(4000, 0.25, **how, seed=1)
    assert arrivals != poisson_arrivals(4000, 0.25, **how, seed=2)

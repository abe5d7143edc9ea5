"""The cost model against hand-made times, simulation, and what was published."""

import random

import pytest

from moe_lib.parallel.cost import (
    Cluster,
    Link,
    device_hours,
    expected_devices,
    fit_link,
    relative_errors,
    step_cost,
)
from moe_lib.published import published

SIZES = [2**n for n in range(10, 25)]
V3 = published("DeepSeek-V3").sizes
# One H800: 989 TFLOP/s in bfloat16 at its peak; links as DeepSeek-V3's report, section 3.2.2.
H800 = Cluster(989e12, 0.4, 8, Link(1e-5, 160e9), Link(1e-5, 50e9))
TOKENS = 61_440  # of a device in a step: 15 sequences of 4,096
SPREAD = dict(tokens=TOKENS, expert_devices=64, bytes_out=1, bytes_back=2)


def test_a_link_is_found_again_in_its_own_times():
    link = Link(3e-4, 1.2e9)
    found = fit_link(SIZES, [link.seconds(size) for size in SIZES])
    assert found.alpha == pytest.approx(link.alpha) and found.bandwidth == pytest.approx(1.2e9)
    noise = random.Random(0)
    noisy = [link.seconds(size) * noise.uniform(0.8, 1.25) for size in SIZES]
    close = fit_link(SIZES, noisy)
    assert close.alpha == pytest.approx(link.alpha, rel=0.2)
    assert close.bandwidth == pytest.approx(link.bandwidth, rel=0.2)
    own = sum(error**2 for error in relative_errors(close, SIZES, noisy))
    for other in (
        Link(close.alpha * 1.02, close.bandwidth),
        Link(close.alpha, close.bandwidth / 1.02),
    ):
        assert sum(error**2 for error in relative_errors(other, SIZES, noisy)) > own


def test_no_delay_is_below_zero():
    assert fit_link([1000, 2000], [1e-3, 2.5e-3]).alpha == 0


def test_measured_exchanges_follow_a_link(on_two):
    """Fitted on every other size, tried on those between: within a factor of three, which any
    straight line through nothing misses by hundreds."""
    sizes, seconds = on_two[0]["exchanges"]
    assert on_two[1]["exchanges"] == [sizes, seconds]
    link = fit_link(sizes[::2], seconds[::2])
    held_out = relative_errors(link, sizes[1::2], seconds[1::2])
    assert max(abs(error) for error in held_out) < 2
    assert link.bandwidth > 1e6 and link.alpha < 1


@pytest.mark.parametrize(
    "experts, k, devices, limit, wanted",
    [(160, 6, 8, None, 4.46), (256, 8, 8, None, 5.29), (8, 2, 8, 1, None), (16, 2, 4, 2, None)],
)
def test_expected_devices(experts, k, devices, limit, wanted):
    if limit == 1:
        with pytest.raises(ValueError, match="k: got 2; wants at most the 1 experts that are open"):
            expected_devices(experts, k, devices, limit)
        return
    found = expected_devices(experts, k, devices, limit)
    draw, each, seen = random.Random(0), experts // devices, 0
    for _ in range(20_000):
        open_ = draw.sample(range(devices), limit or devices)
        chosen = draw.sample([d * each + e for d in open_ for e in range(each)], k)
        seen += len({expert // each for expert in chosen})
    assert found == pytest.approx(seen / 20_000, abs=0.03)
    assert wanted is None or found == pytest.approx(wanted, abs=0.005)  # as FACTS counts them


def test_the_published_hours_of_v3_lie_between_all_and_nothing_overlapped():
    """2,664 thousand H800 hours for 14.8T tokens (DeepSeek-V3, table 1)."""
    cost = step_cost(V3, H800, node_limit=4, **SPREAD)
    hours = {
        name: device_hours(getattr(cost, name), TOKENS, 14.8e12)
        for name in ("overlapped", "one_after_the_other", "between")
    }
    assert hours["overlapped"] < 2_664_000 < hours["one_after_the_other"]
    assert 0.15 < hours["between"] / 2_664_000 < 0.5  # enough that hiding it was worth a schedule
    free = step_cost(V3, H800, **SPREAD)
    assert free.bytes_between == pytest.approx(1.46 * cost.bytes_between, rel=0.02)


def test_bytes_by_hand_and_what_scales():
    """One node: nothing goes between; 2 nodes of one device: k = 1 crosses half of the time."""
    alone = step_cost(V3, H800, tokens=100, expert_devices=8)
    assert alone.bytes_between == alone.between == 0 and alone.bytes_inside > 0
    row = V3.hidden_size * 4 * 2
    inside = expected_devices(256, 8, 8) * 7 / 8
    assert alone.bytes_inside == pytest.approx(100 * 58 * row * inside)
    more = [step_cost(V3, H800, tokens=100, expert_devices=n) for n in (8, 16, 64, 256)]
    assert [a.bytes_between < b.bytes_between for a, b in zip(more, more[1:], strict=False)] == [
        True
    ] * 3
    assert more[-1].one_after_the_other > more[-1].overlapped

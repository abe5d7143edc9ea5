"""The cache of experts against a search over all caches, a plain list, and hand-worked traces."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch

from moe_lib.tracing import RoutingTrace
from moe_lib.tracing.cache_controls import shuffled, uniform
from moe_lib.tracing.expert_cache import requests_of, simulate_expert_cache


def trace_of(*texts, n_experts=6, **facts) -> RoutingTrace:
    """One layer; each text a list of the experts of its tokens."""
    arrays = [torch.tensor(text)[:, None] for text in texts]
    return RoutingTrace.from_arrays(arrays, n_experts=n_experts, **facts)


def random_trace(seed, tokens=9, k=2, n_experts=6, layers=1) -> RoutingTrace:
    noise = torch.rand(tokens, layers, n_experts, generator=torch.Generator().manual_seed(seed))
    return RoutingTrace.from_arrays(noise.topk(k).indices, n_experts=n_experts)


def fewest_misses(requests, num_slots) -> int:
    """All ways to fill the slots, tried: a state is the set of experts that are there."""
    best = {frozenset(): 0}
    for needed in map(set, requests):
        after = {}
        for there, cost in best.items():
            total = cost + len(needed - there)
            others = there - needed
            for size in range(min(len(others), num_slots - len(needed)) + 1):
                for kept in combinations(sorted(others), size):
                    state = frozenset(needed | set(kept))
                    after[state] = min(total, after.get(state, total))
        best = after
    return min(best.values())


@pytest.mark.parametrize("k, num_slots", [(1, 2), (1, 3), (2, 2), (2, 3), (2, 4), (3, 4)])
def test_belady_has_the_fewest_misses_of_all_ways_to_fill_the_slots(k, num_slots):
    differs = 0
    for seed in range(25):
        trace = random_trace(seed, k=k)
        found = simulate_expert_cache(trace, num_slots, "belady")
        requests = requests_of(trace, trace.layers[0])
        assert found.misses == fewest_misses(requests, num_slots)
        differs += found.misses < simulate_expert_cache(trace, num_slots, "lru").misses
    if num_slots > k:
        assert differs > 5  # else the search would prove nothing about the choice of who goes


def naive(requests, num_slots, policy):
    """LRU and LFU with a list of all uses so far, looked through from the start each time."""
    there, past, misses = [], [], 0
    for experts in requests:
        for expert in experts:
            if expert in there:
                continue
            misses += 1
            if len(there) == num_slots:
                free = [one for one in there if one not in experts]
                last = {one: max(n for n, who in enumerate(past) if who == one) for one in free}
                key = (lambda one: (past.count(one), last[one])) if policy == "lfu" else last.get  # noqa: B023
                there.remove(min(free, key=key))
            there.append(expert)
        past += experts[::-1]
    return misses


@pytest.mark.parametrize("policy", ["lru", "lfu"])
def test_lru_and_lfu_miss_as_often_as_a_plain_list_does(policy):
    for seed in range(10):
        trace = random_trace(seed, tokens=60, k=3, n_experts=12)
        requests = requests_of(trace, trace.layers[0])
        misses = simulate_expert_cache(trace, 5, policy).misses
        assert misses == naive(requests, 5, policy)
    assert naive(requests, 5, "lru") != naive(requests, 5, "lfu")


def test_a_trace_worked_by_hand():
    trace = trace_of([[0, 1], [1, 2], [0, 3]])
    found = simulate_expert_cache(trace, 3, "lru", expert_bytes=10)
    layer = found.layer(0)
    # 0 and 1 loaded; 1 there, 2 loaded; 0 there, 3 takes the place of 2, the last one's second
    assert [event.hits for event in layer.events] == [(), (1,), (0,)]
    assert [event.misses for event in layer.events] == [(0, 1), (2,), (3,)]
    assert [event.evicted for event in layer.events] == [(), (), (2,)]
    assert layer.events[-1].slots == (0, 1, 3)
    assert (layer.requests, layer.hits, layer.evictions) == (6, 2, 1)
    assert found.hit_rate == pytest.approx(2 / 6) and found.bytes_moved == 40
    assert simulate_expert_cache(trace, 3).bytes_moved is None


def test_every_layer_has_a_cache_of_its_own_and_texts_follow_each_other():
    noise = torch.rand(30, 2, 6, generator=torch.Generator().manual_seed(0)).topk(2).indices
    both = RoutingTrace.from_arrays(noise, n_experts=6)
    found = simulate_expert_cache(both, 3, "lfu")
    for place in (0, 1):
        alone = RoutingTrace.from_arrays(noise[:, place : place + 1], n_experts=6)
        assert simulate_expert_cache(alone, 3, "lfu").misses == found.layer(place).misses
    cut = RoutingTrace.from_arrays([noise[:11], noise[11:]], n_experts=6)
    assert simulate_expert_cache(cut, 3, "lfu") == found


def test_the_static_set_is_fitted_on_the_other_trace_and_says_when_it_is_not():
    fit, judged = trace_of([[0], [0], [1]]), trace_of([[1], [1], [2], [0]])
    found = simulate_expert_cache(judged, 1, "static", fitted_on=fit)
    assert (found.hit_rate, found.in_sample) == (0.25, False)
    own = simulate_expert_cache(judged, 1, "static")
    assert (own.hit_rate, own.in_sample) == (0.5, True)
    # passing through beside the slots: fewer slots than experts of a token are no fault here
    assert simulate_expert_cache(trace_of([[0, 1]]), 1, "static").misses == 1


def test_dropped_pairs_and_padding_need_no_expert():
    trace = trace_of([[0, 1], [2, 3]], [[4, 5]])
    assert simulate_expert_cache(trace, 2).misses == 6
    kept = torch.ones_like(trace.layers[0].experts, dtype=torch.bool)
    kept[0, 0] = False  # nobody needed by the first token
    dropped = replace(trace, layers=[replace(trace.layers[0], kept=kept)])
    found = simulate_expert_cache(dropped, 2)
    assert found.misses == 4 and len(found.layer(0).events) == 2


def test_a_right_guess_turns_a_miss_into_a_hit_and_is_still_a_load():
    trace = trace_of([[0, 1], [2, 3], [4, 5]])
    chosen = trace.layers[0].experts[0]
    found = simulate_expert_cache(trace, 4, prefetch={0: chosen}, expert_bytes=1)
    assert (found.hit_rate, found.bytes_moved) == (1, 6)
    assert (found.layer(0).prefetched, found.layer(0).useful) == (6, 6)
    wrong = simulate_expert_cache(trace, 2, prefetch={0: chosen.flip(0)[:, :1] * 0 + 3})
    assert wrong.layer(0).useful == 1 and wrong.loads > 6


def test_controls_keep_what_they_should():
    trace = random_trace(0, tokens=400, k=2, layers=2)
    mixed = shuffled(trace, seed=1)
    assert torch.equal(mixed.loads(), trace.loads())
    pairs = [sorted(t.layers[0].experts[0].tolist()) for t in (trace, mixed)]
    assert pairs[0] == pairs[1] and not torch.equal(
        mixed.layers[0].experts, trace.layers[0].experts
    )
    chance = uniform(trace, seed=1)
    assert chance.layers[0].experts.shape == trace.layers[0].experts.shape
    assert (chance.layers[0].experts.sort(-1).values.diff() > 0).all()
    # each expert of a token is in one of 3 of 6 slots as likely as not
    assert simulate_expert_cache(uniform(trace, 2), 3).hit_rate == pytest.approx(0.5, abs=0.06)


def test_order_alone_makes_the_difference_to_the_shuffled_control():
    runs = trace_of([[0]] * 50 + [[1]] * 50 + [[2]] * 50)
    assert simulate_expert_cache(runs, 1).misses == 3
    assert simulate_expert_cache(shuffled(runs), 1).hit_rate == pytest.approx(1 / 3, abs=0.12)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (dict(num_slots=1), "num_slots: got 1; wants at least 2"),
        (dict(num_slots=0), "num_slots"),
        (dict(policy="fifo"), "policy"),
        (dict(fitted_on=random_trace(1)), "fitted_on"),
        (dict(policy="static", fitted_on=random_trace(1, n_experts=7)), "fitted_on"),
        (dict(policy="belady", prefetch={0: torch.zeros(9, 1, dtype=torch.int64)}), "prefetch"),
        (dict(prefetch={0: torch.zeros(8, 1, dtype=torch.int64)}), "prefetch[0]"),
        (dict(prefetch={0: torch.full((9, 1), 6)}), "prefetch[0]"),
        (dict(prefetch={0: torch.zeros(9, 4, dtype=torch.int64)}), "prefetch[0]"),
        (dict(expert_bytes=-1), "expert_bytes"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments, says):
    arguments = {"num_slots": 3, **arguments}
    with pytest.raises(ValueError) as caught:
        simulate_expert_cache(random_trace(0), **arguments)
    assert says in str(caught.value)

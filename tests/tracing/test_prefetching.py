"""Guesses of the next layer's experts, against traces in which the answer is known."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, RoutingTrace, trace_routing
from moe_lib.tracing.expert_cache import simulate_expert_cache
from moe_lib.tracing.prefetching import guess_experts, guess_recall

ADD_TO_THE_STREAM = ("o_proj.weight", "down_proj", "down_proj.weight")


def followed(seed, tokens=200, n_experts=6) -> RoutingTrace:
    """Two layers: whoever chose e in the first chooses e + 1 in the second."""
    noise = torch.rand(tokens, n_experts, generator=torch.Generator().manual_seed(seed))
    first = noise.topk(2).indices
    return RoutingTrace.from_arrays(
        torch.stack([first, (first + 1) % n_experts], dim=1), n_experts=n_experts
    )


def model(n_layers=3) -> LanguageModel:
    torch.manual_seed(0)
    config = ModelConfig.preset("tiny", vocab_size=60, causal=True, num_hidden_layers=n_layers)
    return LanguageModel(config).eval()


def test_a_table_finds_a_rule_and_popularity_does_not():
    trace, other = followed(0), followed(1)
    table = guess_experts(trace, "transition", 2, fitted_on=other)
    assert list(table) == [1]  # the first layer has none before it
    assert guess_recall(trace, table) == {1: 1.0}
    popular = guess_recall(trace, guess_experts(trace, "popular", 2, fitted_on=other))
    assert popular[1] == pytest.approx(2 / 6, abs=0.08)
    cache = simulate_expert_cache(trace, 4, prefetch=table)
    assert cache.layer(1).hit_rate == 1 > cache.layer(0).hit_rate


def test_the_last_tokens_experts_are_those_of_the_token_before():
    trace = followed(0, tokens=5)
    guesses = guess_experts(trace, "last_token", 2, fitted_on=followed(1))
    for layer in trace.layers:
        assert torch.equal(guesses[layer.index][1:], layer.experts[0, :-1])


def test_recall_worked_by_hand():
    trace = RoutingTrace.from_arrays([[[0, 1]], [[2, 3]]], n_experts=4)
    assert guess_recall(trace, {0: torch.tensor([[0, 2], [2, 3]])}) == {0: 0.75}


def test_the_next_router_is_right_where_nothing_happens_between_two_layers():
    """With feed-forward layers and attention that add nothing, the early hidden state is the late
    one; a model that does add something is guessed less well, and better than by chance."""
    one, ids = model(), torch.randint(0, 60, (2, 30), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    before = guess_recall_of(one, ids, mask)
    with torch.no_grad():
        for name, weight in one.named_parameters():
            if name.endswith(ADD_TO_THE_STREAM):
                weight.zero_()
    after = guess_recall_of(one, ids, mask)
    assert after and all(value == 1 for value in after.values())
    k, n_experts = one.config.num_experts_per_tok, one.config.n_routed_experts
    assert k / n_experts < before[2] <= 1


def guess_recall_of(one, ids, mask):
    trace = trace_routing(one, ids, mask)
    k = one.config.num_experts_per_tok
    hooks = sum(len(module._forward_pre_hooks) for module in one.modules())
    guesses = guess_experts(trace, "next_router", k, model=one)
    assert sum(len(module._forward_pre_hooks) for module in one.modules()) == hooks
    assert all(len(rows) == int(mask.sum()) for rows in guesses.values())
    return guess_recall(trace, guesses)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (dict(kind="oracle"), "kind"),
        (dict(kind="popular"), "fitted_on: got None"),
        (dict(kind="next_router"), "model: got None"),
        (dict(number=7, fitted_on=followed(1)), "number: got 7"),
        (dict(number=3, kind="last_token", fitted_on=followed(1)), "at most 2"),
        (dict(fitted_on=followed(1, n_experts=7)), "fitted_on"),
        (dict(kind="next_router", model=model()), "trace"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments, says):
    arguments = {"kind": "transition", "number": 2, **arguments}
    with pytest.raises(ValueError) as caught:
        guess_experts(followed(0), **arguments)
    assert says in str(caught.value)

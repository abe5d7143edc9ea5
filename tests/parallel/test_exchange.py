"""What travels: counted bytes against counts of the choices, and transformers' own expert
parallelism on the same weights."""

import pytest
import torch

from moe_lib.model import Routing
from moe_lib.parallel.experts import travel_plan
from moe_lib.views.drawings.two_machines import EACH, TOKENS, travellers

HIDDEN, K, OWN = 16, 2, 2  # of the model in `traffic`; experts on each rank


def rows_sent(experts, rank):
    """Tokens that need an expert of the other rank."""
    return sum(any(e // OWN != rank for e in chosen) for chosen in experts)


@pytest.mark.parametrize("name", ["traffic", "traffic, limited"])
def test_bytes_are_those_that_the_choices_need(on_two, name):
    """A row is HIDDEN floats with K weights and K experts' numbers; it comes back without these,
    and so do gradients. Nothing goes from a rank to itself."""
    rows = [rows_sent(on_two[rank][name]["experts"], rank) for rank in (0, 1)]
    for rank in (0, 1):
        sent, other = on_two[rank][name]["sent"], 1 - rank
        wanted = {
            "counts": 8,
            "dispatch": rows[rank] * 4 * (HIDDEN + 2 * K),
            "combine": rows[other] * 4 * HIDDEN,
            "combine backward": rows[rank] * 4 * HIDDEN,
            "dispatch backward": rows[other] * 4 * (HIDDEN + K),
        }
        assert {what: numbers[other] for what, numbers in sent.items()} == wanted
        assert all(numbers[rank] == 0 for numbers in sent.values())
        assert on_two[rank][name]["bytes"] == sum(wanted.values())


def test_limiting_devices_saves_bytes(on_two):
    """Of two ranks a token may use one: fewer rows than without the limit, which sends nearly as
    many as there are tokens that split their choices."""
    free, limited = (
        sum(on_two[rank][name]["sent"]["dispatch"][1 - rank] for rank in (0, 1))
        for name in ("traffic", "traffic, limited")
    )
    assert limited < 0.7 * free
    for chosen in on_two[0]["traffic, limited"]["experts"]:
        assert len({expert // OWN for expert in chosen}) == 1


def test_transformers_computes_the_same_with_its_own_expert_parallelism(on_two):
    for rank in on_two:
        found = rank["transformers"]
        assert found["held"] == 2  # of 4 experts: theirs are really spread
        assert found["largest"] > 0.1 and found["difference"] < 1e-6


def test_nobody_listens_beyond_this_machine(on_two):
    for rank in on_two:
        assert rank["listening"], "gloo waits for connections somewhere"
        for address in rank["listening"]:
            assert address.startswith("0100007F:"), f"127.0.0.1 in /proc's form, not {address}"


def test_a_travel_plan_by_hand():
    experts = torch.tensor([[0, 1], [2, 0], [3, 2]])  # two on each of two ranks
    weights = torch.ones(3, 2)
    kept = torch.tensor([[True, True], [True, True], [True, False]])
    scores = torch.zeros(3, 4)
    order, local = travel_plan(Routing(experts, weights, scores, scores, kept), 2)
    assert order.load.tolist() == [2, 2]
    assert order.token.tolist() == [0, 1, 1, 2]  # token 1 goes to both, token 0 to one, once
    assert local.tolist() == [[0, 1], [-1, 0], [0, -1], [1, -1]]  # token 2's second is dropped


def test_the_drawing_sends_whom_the_plan_sends():
    for machine, tokens in enumerate(TOKENS):
        experts = torch.tensor(list(tokens.values()))
        weights, scores = torch.ones(3, 2), torch.zeros(3, 4)
        routing = Routing(experts, weights, scores, scores, torch.ones(3, 2, dtype=torch.bool))
        order, _ = travel_plan(routing, EACH)
        away = order.token.split(order.load.tolist())[1 - machine]
        assert [list(tokens)[token] for token in away] == travellers(machine)

"""Two readings compared: every number against a naive count, and what must hold for equal and for
shuffled ones."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.text import load_tokenizer
from moe_lib.tracing import LayerTrace, Reading, RoutingTrace, compare_readings, read_text
from moe_lib.tracing.analysis.comparing_readings import total_variation
from tests.tracing.families import build

ONE = [[0, 1], [0, 2], [3, 0], [1, 0], [2, 3]]
TWO = [[1, 0], [2, 3], [0, 3], [1, 3], [0, 1]]


def reading(
    experts: list[list[int]], n_experts: int = 4, index: int = 1, words: str = "abcde", chosen=None
) -> Reading:
    choices = torch.tensor(experts)[None]
    weights, scores = torch.full(choices.shape, 0.5), torch.full((1, len(experts), n_experts), 0.25)
    layer = LayerTrace(f"layers.{index}", index, n_experts, choices, weights, scores, chosen=chosen)
    pieces = tuple(words[place % len(words)] for place in range(len(experts)))
    ids = torch.arange(len(experts))[None]
    trace = RoutingTrace([layer], ids, torch.ones_like(ids, dtype=torch.bool))
    return Reading(
        "".join(pieces), pieces, pieces, trace, (None,) * len(experts), None, 0, True, 0.0, {}
    )


def share_of_equals(one, two) -> float:
    """Naive: how many of a token's experts it has in the other too, mean over the tokens."""
    return sum(len(set(a) & set(b)) / len(set(a)) for a, b in zip(one, two, strict=True)) / len(one)


def test_every_number_by_hand():
    found = compare_readings(reading(ONE), reading(TWO))
    layer = found.layer(1)
    assert found.same_tokens and found.missing == ()
    # loads 4 2 2 2 and 3 3 1 3 of 10
    assert layer.total_variation == pytest.approx((0.1 + 0.1 + 0.1 + 0.1) / 2)
    assert layer.overlap == pytest.approx(share_of_equals(ONE, TWO)) == pytest.approx(0.6)
    by_order = [
        share_of_equals(ONE, [TWO[place] for place in order]) for order in permutations(range(5))
    ]
    assert layer.chance_overlap == pytest.approx(sum(by_order) / len(by_order))
    renamed = [
        share_of_equals(ONE, [[names[e] for e in pair] for pair in TWO])
        for names in permutations(range(4))
    ]
    assert layer.renumbered_overlap == pytest.approx(max(renamed))
    assert layer.renumbered_chance >= layer.chance_overlap
    frame = found.to_pandas()
    assert frame["total_variation"].tolist() == [layer.total_variation] and len(frame) == 1


def test_tokens_with_different_numbers_of_experts():
    chosen = torch.tensor(
        [[[True, True], [True, False], [True, True], [True, True], [True, False]]]
    )
    layer = compare_readings(reading(ONE, chosen=chosen), reading(TWO)).layer(1)
    naive = [[0, 1], [0], [3, 0], [1, 0], [2]]
    assert layer.overlap == pytest.approx(share_of_equals(naive, TWO))
    loads = torch.tensor([4.0, 2, 1, 1]), torch.tensor([3.0, 3, 1, 3])
    assert layer.total_variation == pytest.approx(total_variation(*loads))


def test_a_reading_equals_itself_and_a_renumbered_copy_of_itself():
    generator = torch.Generator().manual_seed(0)
    experts = torch.rand(200, 8, generator=generator).argsort(1)[:, :2]
    one = reading(experts.tolist(), 8)
    itself = compare_readings(one, one).layer(1)
    assert (itself.total_variation, itself.overlap, itself.p_value) == (
        0.0,
        pytest.approx(1.0),
        1.0,
    )
    names = (torch.arange(8) + 1) % 8
    copy = compare_readings(one, reading(names[experts].tolist(), 8)).layer(1)
    assert (
        copy.renumbered_overlap == pytest.approx(1.0)
        and copy.overlap < 0.6
        and copy.renumbered_chance < 0.5
    )


def test_the_control_tells_chance_from_a_difference():
    generator = torch.Generator().manual_seed(1)
    logits = torch.rand(300, 8, generator=generator)
    same = [
        compare_readings(
            reading(logits[:150].argsort(1)[:, :2].tolist(), 8, words="ab"),
            reading(logits[150:].argsort(1)[:, :2].tolist(), 8, words="cd"),
            seed=seed,
        ).layer(1)
        for seed in (0, 1)
    ]
    assert same[0].total_variation == same[1].total_variation and same[0].overlap is None
    assert same[0].shuffled_variation == pytest.approx(same[1].shuffled_variation, abs=0.01)
    assert same[0].total_variation < 2 * same[0].shuffled_variation and same[0].p_value > 0.01
    tilted = (logits[150:] + torch.arange(8) / 8).argsort(1)[:, :2]
    other = compare_readings(
        reading(logits[:150].argsort(1)[:, :2].tolist(), 8), reading(tilted.tolist(), 8, words="z")
    )
    assert other.layer(1).p_value == pytest.approx(1 / 201)
    assert other.layer(1).total_variation > 2 * other.layer(1).shuffled_variation


def test_layers_without_a_partner_are_named():
    found = compare_readings(reading(ONE), reading(TWO, index=2))
    assert found.layers == () and found.missing == (1,) and found.to_pandas().empty
    assert compare_readings(reading(ONE), reading(TWO, n_experts=5)).missing == (1,)
    with pytest.raises(ValueError, match="^index"):
        found.layer(1)


def test_wrong_arguments_are_named():
    one = reading(ONE)
    with pytest.raises(TypeError, match="^other"):
        compare_readings(one, one.trace)
    with pytest.raises(ValueError, match="^one"):
        compare_readings(replace(one, pieces=()), one)


def test_groups_and_shared_experts_are_in_the_record(tmp_path):
    """Facts of the layer come with the trace, and survive the disk."""
    from moe_lib.tracing import load_trace, trace_routing

    model = build("deepseek_v2", n_shared_experts=2)
    layer = trace_routing(model, torch.ones(1, 3, dtype=torch.long)).layers[0]
    assert (layer.n_shared, layer.n_group, layer.topk_group) == (2, 4, 2)
    for k in (1, 2):
        greedy = build("deepseek_v2", topk_method="greedy", n_group=4, topk_group=k)
        assert trace_routing(greedy, torch.ones(1, 3, dtype=torch.long)).layers[0].n_group == 1
    config = ModelConfig.preset(
        "tiny", router="group_limited", n_group=4, topk_group=2, n_shared_experts=3
    )
    trace = read_text(LanguageModel(config), load_tokenizer(), "The list.").trace
    facts = [(part.n_shared, part.n_group, part.topk_group) for part in trace.layers]
    assert facts == [(3, 4, 2)] * len(facts)
    again = load_trace(trace.save(tmp_path))
    assert [(part.n_shared, part.n_group, part.topk_group) for part in again.layers] == facts

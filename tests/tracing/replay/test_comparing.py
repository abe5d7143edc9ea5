"""Free against forced: shares of changed choices and log-probabilities, counted by loops."""

import math
from dataclasses import replace

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, RoutingTrace, trace_routing
from moe_lib.tracing import forced_routing, replay_routing
from moe_lib.tracing.trace import UNKNOWN_TOKEN
from tests.tracing.families import IDS, build


def test_changed_choices_and_log_probabilities_by_loops():
    model, given = build("olmoe"), trace_routing(build("olmoe", seed=1), IDS)
    found = replay_routing(model, given)
    own = trace_routing(model, IDS)
    for line, one, other in zip(found.layers, given.layers, own.layers, strict=True):
        lost = [
            len(set(a) - set(b))
            for a, b in zip(
                one.experts.flatten(0, 1).tolist(),
                other.experts.flatten(0, 1).tolist(),
                strict=True,
            )
        ]
        assert line.changed_choices == pytest.approx(sum(lost) / (3 * len(lost)))
        assert line.changed_tokens == pytest.approx(sum(map(bool, lost)) / len(lost))
    with torch.no_grad(), forced_routing(model, given):
        logits = model(input_ids=IDS).logits
    for row in range(2):
        for place in range(1, 7):
            scores = logits[row, place - 1].double()
            expected = scores[IDS[row, place]] - math.log(float(scores.exp().sum()))
            assert float(found.forced_log_probs[row, place]) == pytest.approx(
                float(expected), abs=1e-4
            )
    assert found.predicted.sum() == 12 and found.mean_absolute_difference > 0.01
    assert found.frame()["layer"].tolist() == [layer.index for layer in given.layers]


def test_a_models_own_routing_changes_nothing():
    for model in (build("mixtral"), small()):
        found = replay_routing(model, trace_routing(model, IDS))
        assert {line.changed_choices for line in found.layers} == {0.0}
        assert found.largest_difference < 1e-5


def test_one_exchanged_choice_is_one():
    model = small()
    trace = trace_routing(model, IDS)
    first = trace.layers[0]
    experts = first.experts.clone()
    unused = next(e for e in range(first.n_experts) if e not in experts[0, 3].tolist())
    experts[0, 3, 0] = unused
    changed = replace(trace, layers=[replace(first, experts=experts), *trace.layers[1:]])
    found = replay_routing(model, changed)
    k = experts.shape[-1]
    assert found.layers[0].changed_choices == pytest.approx(1 / (14 * k))
    assert found.layers[0].changed_tokens == pytest.approx(1 / 14)
    difference = (found.forced_log_probs - found.free_log_probs).abs()
    assert difference[1].max() < 1e-5 and difference[0, :4].max() < 1e-5  # nothing before it
    assert difference[0, 4:].max() > 1e-6


def test_an_engines_trace_knows_neither_weights_nor_the_last_token():
    model = build("qwen3_moe")
    seen = trace_routing(model, IDS)
    stacked = torch.stack([layer.experts for layer in seen.layers], 2)
    engine = RoutingTrace.from_arrays(
        list(stacked[:, :6]), list(IDS), n_experts=8, layers=[layer.index for layer in seen.layers]
    )
    found = replay_routing(model, engine, IDS)
    assert found.largest_difference < 1e-5 and found.predicted.sum() == 12
    unknown = replace(engine, input_ids=torch.full_like(engine.input_ids, UNKNOWN_TOKEN))
    assert replay_routing(model, unknown, IDS).largest_difference < 1e-5
    with pytest.raises(ValueError, match="^input_ids: got None; wants the token ids"):
        replay_routing(model, unknown)


@pytest.mark.parametrize(
    "ids, words", [(IDS[:, :4], "as in the trace"), (IDS.flip(1), "the tokens of the trace")]
)
def test_tokens_of_another_text(ids, words):
    model = small()
    with pytest.raises(ValueError, match=f"^input_ids: .*{words}"):
        replay_routing(model, trace_routing(model, IDS), ids)


def test_a_masked_model_is_refused():
    model = LanguageModel(ModelConfig.preset("tiny", vocab_size=64, causal=False)).eval()
    with pytest.raises(ValueError, match="^model: got 'a masked model'"):
        replay_routing(model, trace_routing(model, IDS))


def small() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny", vocab_size=64, causal=True)).eval()

"""Routing of every Mixture-of-Experts family of transformers, against a loop over the experts' own
weights."""

from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from moe_lib import trace_routing
from tests.tracing.families import FAMILIES, IDS, build

# What follows the experts here is no plain sum, so that the experts alone are compared, not their
# block.
EXPERTS_ALONE = ("axk1", "gemma4", "diffusion_gemma", "muse_spark", "nemotron_h")


@cache
def traced(family: str):
    """(what each block was given and returned, its experts likewise, the trace) of one tiny
    model."""
    model, calls = build(family), {}
    with torch.no_grad():  # then a block returns the sum over its routed experts, and nothing else
        for name, parameter in model.named_parameters():
            if "shared_" in name or (family == "doge" and "mlp.down_proj" in name):
                parameter.zero_()
    handles = [
        module.register_forward_hook(
            lambda module, args, output, name=name: calls.__setitem__(name, (module, args, output))
        )
        for name, module in model.named_modules()
    ]
    trace = trace_routing(model, IDS)
    for handle in handles:
        handle.remove()
    return trace, calls, model


def run_expert(experts, expert: int, x):
    """One expert of any family on x (tokens, hidden), from its weights."""
    if isinstance(experts, torch.nn.ModuleDict):  # Switch, NLLB
        return experts[f"expert_{expert}"](x)
    if type(experts).__name__ == "JetMoeMoE":
        gate, up = (x @ experts.input_linear.weight[expert].T).chunk(2, -1)
        return (experts.activation(gate) * up) @ experts.output_linear.weight[expert].T
    if type(experts).__name__ == "DogeCDMoE":
        key, value = experts.down_embed.weight[expert], experts.up_embed.weight[expert]
        return experts.act_fn(x @ key)[:, None] * value
    if type(experts).__name__ == "DbrxExperts":
        w1, v1, w2 = (
            w.view(experts.num_experts, -1, x.shape[-1])[expert]
            for w in (experts.mlp.w1, experts.mlp.v1, experts.mlp.w2)
        )
        return (F.silu(x @ w1.T) * (x @ v1.T)) @ w2
    if type(experts).__name__ == "LongcatFlashExperts" and expert >= experts.num_routed_experts:
        return x
    turned = getattr(experts, "is_transposed", type(experts).__name__ == "Llama4TextExperts")
    first = getattr(experts, "gate_up_proj", None)
    first = experts.up_proj if first is None else first
    first, second = first[expert], experts.down_proj[expert]
    hidden = x @ (first if turned else first.T)
    if getattr(experts, "has_bias", False):
        hidden = hidden + experts.gate_up_proj_bias[expert]
    if not getattr(experts, "has_gate", True):
        hidden = experts.act_fn(hidden)
    elif hasattr(experts, "_apply_gate"):
        hidden = experts._apply_gate(hidden)
    else:
        gate, up = hidden.chunk(2, -1)
        hidden = experts.act_fn(gate) * up
    output = hidden @ (second if turned else second.T)
    if getattr(experts, "has_bias", False):
        output = output + experts.down_proj_bias[expert]
    return (
        experts.post_expert_norm(output)
        if getattr(experts, "has_post_expert_norm", False)
        else output
    )


def sum_over_choices(family: str, layer, experts, x):
    """(tokens, hidden): the weighted sum of the experts that the trace names, token by token."""
    output = torch.zeros_like(x)
    for token, (chosen, weights) in enumerate(
        zip(layer.experts.flatten(0, 1), layer.weights.flatten(0, 1), strict=True)
    ):
        for column, (expert, weight) in enumerate(
            zip(chosen.tolist(), weights.tolist(), strict=True)
        ):
            place = divmod(token, x.shape[0] // IDS.shape[0])
            dropped = layer.kept is not None and not layer.kept[place][column]
            missing = layer.chosen is not None and not layer.chosen[place][column]
            if dropped or missing:
                continue
            if family == "llama4":  # its weights multiply what goes in
                output[token] += run_expert(experts, expert, weight * x[token][None])[0]
            else:
                output[token] += weight * run_expert(experts, expert, x[token][None])[0]
    return output


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_trace_explains_the_layers_output(family):
    trace, calls, model = traced(family)
    assert trace.layers
    for layer in trace.layers:
        assert layer.experts.shape == layer.weights.shape and layer.experts.shape[:2] == IDS.shape
        assert layer.scores.shape == (*IDS.shape, layer.n_experts)
        assert layer.name.split(".").count(str(layer.index)) >= 1
        block, args, output = calls[layer.name]
        experts = getattr(block, "experts", block)
        given, returned = calls.get(f"{layer.name}.experts", (block, args, output))[1:]
        if family not in EXPERTS_ALONE:
            given, returned = (args if args else given), output
        returned = returned[0] if isinstance(returned, tuple) else returned
        x = given[0].reshape(-1, given[0].shape[-1])
        expected = sum_over_choices(family, layer, experts, x)
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(
            returned.reshape(x.shape), expected, rtol=1e-4, atol=1e-5 * expected.abs().max()
        )


def test_at_least_sixty_families_are_covered():
    covered, failed = [], {}
    for family in FAMILIES:
        try:
            assert traced(family)[0].layers
            covered.append(family)
        except Exception as error:  # named below; the test of the family itself shows where
            failed[family] = f"{type(error).__name__}: {error}"
    print(f"{len(covered)} families: {', '.join(covered)}. Not covered: {failed or 'none'}")
    assert len(covered) >= 60, failed


def test_no_family_of_transformers_is_forgotten():
    """Every model file that registers router logits or a set of experts is in the table."""
    import transformers

    found = set()
    for path in (Path(transformers.__file__).parent / "models").glob("*/modeling_*.py"):
        text = path.read_text(encoding="utf-8")
        if '"router_logits":' in text or "@use_experts_implementation" in text:
            found.add(path.parent.name)
    assert len(found) > 60
    assert found <= set(FAMILIES)


@pytest.mark.parametrize(
    "family, score",
    [
        ("mixtral", lambda z: z.softmax(-1)),
        ("deepseek_v2", lambda z: z.softmax(-1)),
        ("deepseek_v3", torch.sigmoid),
        ("glm4_moe", torch.sigmoid),
        ("deepseek_v4", lambda z: F.softplus(z).sqrt()),
    ],
)
def test_scores_are_those_of_the_family(family, score):
    trace, calls, _ = traced(family)
    for layer in trace.layers:
        logits = calls[f"{layer.name}.gate"][2][0]
        torch.testing.assert_close(layer.scores.flatten(0, 1), score(logits.float()))


@pytest.mark.parametrize(
    "family, wrong",
    [
        ("mixtral", False),
        ("olmoe", False),
        ("deepseek_v3", True),
        ("glm4_moe", True),
        ("deepseek_v2", True),
    ],
)
def test_experts_rebuilt_from_softmaxed_logits_would_be_wrong(family, wrong):
    """The way to read `output_router_logits` that biases and groups defeat (transformers issue
    45120)."""
    trace, calls, _ = traced(family)
    layer = trace.layers[-1]
    logits = calls[f"{layer.name}.gate"][2][0]
    rebuilt = logits.softmax(-1).topk(3).indices.sort().values
    differs = (rebuilt != layer.experts.flatten(0, 1).sort().values).any(-1)
    assert differs.any() if wrong else not differs.any()


def test_attention_experts_of_jetmoe_are_kept_apart():
    trace, calls, _ = traced("jetmoe")
    assert [part.index for part in trace.attention_layers] == [0, 1]
    for part in trace.attention_layers:
        logits = calls[f"{part.name}.router"][2][4]
        best = logits.topk(3, dim=-1)
        assert torch.equal(part.experts.flatten(0, 1), best.indices)
        torch.testing.assert_close(part.weights.flatten(0, 1), best.values.softmax(-1))


def test_switch_marks_the_tokens_that_a_full_expert_dropped():
    trace, calls, model = traced("switch_transformers")
    layer = trace.layers[0]
    logits = calls[f"{layer.name}.router"][2][2]
    for text in range(2):  # by hand: the first two tokens of each expert pass, the others do not
        seen = [0] * 8
        for position in range(7):
            expert = int(logits[text, position].argmax())
            seen[expert] += 1
            assert layer.experts[text, position].tolist() == [expert]
            assert bool(layer.kept[text, position]) == (seen[expert] <= 2)
    assert not layer.kept.all() and trace.load(layer.index).sum() == IDS.numel()


def test_skipped_tokens_of_zaya_are_no_choice():
    trace, calls, _ = traced("zaya")
    for layer in trace.layers:
        output = calls[f"{layer.name}.gate"][2]
        skipped = (output[1].flatten() == 0).view(IDS.shape)
        assert torch.equal(layer.chosen[..., 0], ~skipped)
        assert trace.load(layer.index).sum() == int((~skipped).sum())


def test_nllb_says_that_its_experts_do_not_follow_its_router():
    with pytest.warns(UserWarning, match="experts 0 and 1 only"):
        trace_routing(build("nllb_moe"), IDS)

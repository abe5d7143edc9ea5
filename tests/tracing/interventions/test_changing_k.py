"""Another number of experts per token: as in a model that is built with it, ours and every family
of transformers."""

import copy

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.model import MoELayer
from moe_lib.text import load_tokenizer
from moe_lib.tracing import experts_off, experts_per_token, largest_k, read_text
from tests.tracing.families import FAMILIES, IDS, build, model_class

NAMES = ("num_experts_per_tok", "moe_topk", "moe_top_k", "moe_k", "top_k_experts")
REFUSED = {"deepseek_v4", "nllb_moe", "phimoe", "switch_transformers", "zaya"}
OTHER_TWIN = {"jetmoe"}  # its configuration's k also sets the heads of its attention
ASKED = {"mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3", "gpt_oss"}


def with_k(family: str, k: int):
    """The same weights in a model whose configuration says k from the start."""
    config = model_class(family).config_class
    known = set(config.__dataclass_fields__) | set(config.attribute_map)
    if family == "dbrx":
        return build(family, ffn_config={**FAMILIES[family][1]["ffn_config"], "moe_top_k": k})
    return build(family, **{name: k for name in NAMES if name in known})


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - REFUSED - OTHER_TWIN))
def test_equals_a_model_built_with_that_k(family):
    model = build(family)
    before = trace_routing(model, IDS)
    for k in (1, 2, largest_k(model)) if family in ASKED else (2,):
        twin = with_k(family, k)
        theirs = twin.state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())
        with experts_per_token(model, k):
            changed = trace_routing(model, IDS)
        for one, other in zip(changed.layers, trace_routing(twin, IDS).layers, strict=True):
            assert one.experts.shape[-1] == k
            assert torch.equal(one.experts, other.experts) and torch.equal(
                one.weights, other.weights
            )
    again = trace_routing(model, IDS)
    for one, other in zip(before.layers, again.layers, strict=True):
        assert torch.equal(one.experts, other.experts) and torch.equal(one.weights, other.weights)


def test_the_coverage_is_told_and_holds():
    can, cannot = [], {}
    for family in FAMILIES:
        try:
            largest_k(build(family))
            can.append(family)
        except ValueError as error:
            cannot[family] = str(error)
    print(f"\nk can be changed in {len(can)} of {len(FAMILIES)} families; not in:")
    print(*(f"  {family}: {reason}" for family, reason in cannot.items()), sep="\n")
    assert set(cannot) == REFUSED and ASKED <= set(can) and len(can) >= 60
    assert all("Router" in reason for reason in cannot.values())


@pytest.mark.parametrize("family", sorted(REFUSED))
def test_what_cannot_change_is_refused_by_name(family):
    with pytest.raises(
        ValueError, match="^model: got 'layer .*Router'; wants a router whose number"
    ):
        with experts_per_token(build(family), 2):
            pass


def test_logits_follow_a_hand_made_mixture():
    """Mixtral, k = 1: the weight is 1, so the layer's output is the best expert's alone."""
    model = build("mixtral")
    block, seen = model.model.layers[0].mlp, []
    handle = block.register_forward_hook(lambda m, args, output: seen.append((args[0], output)))
    with torch.no_grad(), experts_per_token(model, 1):
        model(IDS)
    handle.remove()
    x, output = seen[0][0].flatten(0, 1), seen[0][1].flatten(0, 1)
    best = (x @ block.gate.weight.T).argmax(-1)
    for token, expert in enumerate(best.tolist()):
        gate, up = (block.experts.gate_up_proj[expert] @ x[token]).chunk(2)
        by_hand = block.experts.down_proj[expert] @ (torch.nn.functional.silu(gate) * up)
        torch.testing.assert_close(output[token], by_hand, rtol=1e-4, atol=1e-6)


OWN = dict(
    vocab_size=64,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    n_routed_experts=8,
    num_experts_per_tok=2,
    moe_intermediate_size=8,
    first_k_dense_replace=1,
    initializer_range=0.4,
)
KINDS = {
    "topk": {},
    "normed": dict(norm_topk_prob=True),
    "topk_softmax": dict(router="topk_softmax"),
    "noisy_topk": dict(router="noisy_topk"),
    "biased": dict(router="biased_topk", scoring_func="sigmoid", norm_topk_prob=True),
    "groups": dict(router="group_limited", n_group=4, topk_group=2),
    "choice": dict(router="expert_choice", causal=False),
}


def own(**changes):
    torch.manual_seed(2)
    return LanguageModel(ModelConfig(**{**OWN, **changes})).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_our_models_equal_a_twin_built_with_that_k(kind):
    model = own(**KINDS[kind])
    most = largest_k(model)
    assert most == (4 if kind == "groups" else 8)
    with torch.no_grad():
        before = model(IDS).logits
        for k in (3, most):
            twin = own(**KINDS[kind], num_experts_per_tok=k)
            twin.load_state_dict(model.state_dict())
            with experts_per_token(model, k):
                assert torch.equal(model(IDS).logits, twin(IDS).logits)
            assert not torch.allclose(before, twin(IDS).logits, atol=1e-4)
        with experts_per_token(
            model, 1
        ):  # a twin with k = 1 would be refused where it could not be trained
            assert model(IDS).logits.isfinite().all()
        assert torch.equal(model(IDS).logits, before)


@pytest.mark.parametrize(
    "make", [own, lambda: build("deepseek_v2"), lambda: build("gemma4"), lambda: build("dbrx")]
)
def test_restored_after_an_error_and_nested(make):
    model = make()
    before = copy.deepcopy(
        {
            name: vars(module).get("top_k", getattr(module, "num_experts_per_tok", None))
            for name, module in model.named_modules()
        }
    )
    first = trace_routing(model, IDS)
    with pytest.raises(RuntimeError, match="stop"), experts_per_token(model, 1):
        with experts_per_token(model, 2):
            assert trace_routing(model, IDS).layers[0].experts.shape[-1] == 2
        assert trace_routing(model, IDS).layers[0].experts.shape[-1] == 1
        raise RuntimeError("stop")
    again = trace_routing(model, IDS)
    assert torch.equal(first.layers[-1].experts, again.layers[-1].experts)
    assert before == {
        name: vars(module).get("top_k", getattr(module, "num_experts_per_tok", None))
        for name, module in model.named_modules()
    }


def test_k_out_of_range_is_named():
    model = build("deepseek_v2")  # 8 experts in 4 groups, 2 of which a token may use
    assert largest_k(model) == 4
    for k, error in ((0, ValueError), (5, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="^k: "), experts_per_token(model, k):
            pass
    for router, k in (("switch", 1), ("gshard", 2), ("hash", 2), ("base", 1), ("dense", 8)):
        with pytest.raises(ValueError, match="^model: got 'layer 1, .*Router'"):
            largest_k(own(router=router, num_experts_per_tok=k))
    with pytest.raises(ValueError, match="^model"):
        largest_k(own(n_routed_experts=0))
    with pytest.raises(TypeError, match="^model"):
        largest_k("a model")


def test_a_reading_with_another_k_also_with_experts_off():
    torch.manual_seed(0)
    model, tokenizer = (
        LanguageModel(ModelConfig.preset("tiny", initializer_range=0.3)),
        load_tokenizer(),
    )
    text = "The list is sorted in place."
    layer = next(
        i for i, block in enumerate(model.layers) if isinstance(block.feed_forward, MoELayer)
    )
    reading = read_text(model, tokenizer, text, k=5, off={layer: [0, 1]})
    assert reading.k == 5 and reading.trace.layer(layer).experts.shape[-1] == 5
    assert reading.trace.load(layer)[:2].sum() == 0
    ids = reading.trace.input_ids
    with torch.no_grad(), experts_per_token(model, 5), experts_off(model, {layer: [0, 1]}):
        loss = model(ids, labels=ids).loss.item()
    assert -reading.mean_log_probability == pytest.approx(loss, rel=1e-5)
    with pytest.raises(ValueError, match="^off: .*at least 7 left"):
        read_text(model, tokenizer, text, k=7, off={layer: [0, 1]})
    assert read_text(model, tokenizer, text).k is None

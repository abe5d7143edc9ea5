"""Parameters by kind, counted by hand; what adapters and quantisation touched, and the routing."""

import pytest
import torch
from torch import nn

from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.tracing.coverage import (
    KINDS,
    changed_by_adapter,
    changed_choices,
    changed_words,
    coverage,
)
from tests.tracing.families import FAMILIES, IDS, build


def adapted(**settings):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    return get_peft_model(build("qwen2_moe"), LoraConfig(r=2, **settings))


def weights(model: nn.Module, *pieces: str) -> int:
    """Entries of the parameters whose names hold one of the pieces."""
    return sum(p.numel() for n, p in model.named_parameters() if any(one in n for one in pieces))


def test_a_plain_model_by_kind():
    model = build("qwen2_moe")
    found = coverage(model)
    assert found.kind("router").weights == weights(model, "mlp.gate.weight")
    assert found.kind("routed experts").weights == weights(model, ".experts.")
    assert found.kind("shared experts").weights == weights(model, "shared_expert")
    assert found.kind("attention").weights == weights(model, "self_attn.")
    assert found.kind("norms").weights == weights(model, "norm.weight")
    assert found.kind("embeddings").weights == weights(model, "embed_tokens")
    assert found.kind("head").weights == weights(model, "lm_head")
    assert sum(one.weights for one in found.kinds) == sum(p.numel() for p in model.parameters())
    assert sum(one.trained for one in found.kinds) == sum(p.numel() for p in model.parameters())
    assert found.words() == "Neither adapted by peft nor quantised."
    assert found.frame()["weights"].iloc[-1] == sum(p.numel() for p in model.parameters())


def test_our_own_model_by_kind():
    model = LanguageModel(ModelConfig.preset("tiny", vocab_size=64, causal=True))
    found = coverage(model)
    for kind, piece in (
        ("router", ".router."),
        ("routed experts", ".experts."),
        ("shared experts", ".shared."),
        ("attention", ".attention."),
        ("norms", "norm.weight"),
    ):
        assert found.kind(kind).weights == weights(model, piece), kind
    with pytest.raises(ValueError, match="^kind: got 'head'"):
        found.kind("head")  # tied to the embedding


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_of_every_family_has_one_kind(family):
    model = build(family)
    found = coverage(model)
    assert sum(one.weights for one in found.kinds) == sum(p.numel() for p in model.parameters())
    kinds = [one.kind for one in found.kinds]
    assert kinds == [kind for kind in KINDS if kind in kinds] and "router" in kinds
    assert "routed experts" in kinds or family == "doge"


def test_lora_on_attention_alone_leaves_the_experts_out():
    model = adapted(target_modules=["q_proj", "v_proj"])
    found, base = coverage(model), build("qwen2_moe")
    attention = found.kind("attention")
    assert attention.adapted == weights(base, "q_proj.weight", "v_proj.weight")
    assert attention.added == attention.trained == weights(model, "lora_")
    assert found.kind("routed experts").adapted == found.kind("router").adapted == 0
    assert sum(one.weights for one in found.kinds) == weights(base, "")
    assert "Adapted: attention (" in found.words()
    assert "Not adapted: embeddings, router, shared experts, routed experts" in found.words()
    assert "model.layers.0.self_attn.k_proj.weight" in attention.skipped
    assert "model.layers.0.self_attn.q_proj.weight" not in attention.skipped


def test_experts_router_and_saved_modules():
    model = adapted(
        target_modules=["q_proj"],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.gate.weight"],
        modules_to_save=["lm_head"],
    )
    found, base = coverage(model), build("qwen2_moe")
    assert found.kind("routed experts").adapted == weights(base, "gate_up_proj")
    assert found.kind("router").adapted == weights(base, "mlp.gate.weight")
    head = found.kind("head")
    assert head.adapted == head.weights == head.added == weights(base, "lm_head")
    assert sum(one.added for one in found.kinds) == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )
    assert sum(one.weights for one in found.kinds) == weights(base, "")


class Params4bit(nn.Parameter):
    """As bitsandbytes names its own: two weights in a byte, the shape beside them."""


def test_what_is_quantised_is_told_by_class_and_type():
    model = build("qwen2_moe")
    experts = model.model.layers[0].mlp.experts
    shape = experts.down_proj.shape
    packed = Params4bit(torch.zeros(shape.numel() // 2, 1, dtype=torch.uint8), requires_grad=False)
    packed.quant_state = type("State", (), {"shape": shape})()
    experts.down_proj = packed
    query = model.model.layers[1].self_attn.q_proj
    query.weight = nn.Parameter(query.weight.to(torch.float8_e4m3fn), requires_grad=False)
    key = model.model.layers[1].self_attn.k_proj  # as GPTQ keeps it
    rows, columns = key.weight.shape
    del key.weight
    key.bits = 4
    key.register_buffer("qweight", torch.zeros(rows // 8, columns, dtype=torch.int32))
    found, whole = coverage(model), coverage(build("qwen2_moe"))
    routed, attention = found.kind("routed experts"), found.kind("attention")
    assert dict(routed.formats) == {"bitsandbytes 4 bits": shape.numel()}
    assert routed.weights == whole.kind("routed experts").weights
    assert dict(attention.formats) == {
        "float8_e4m3fn": query.weight.numel(),
        "Linear 4 bits": rows * columns,
    }
    assert attention.weights == whole.kind("attention").weights
    assert found.kind("router").quantised == 0
    assert "Not quantised: embeddings, router, shared experts" in found.words()


def test_torchao_is_told_by_the_package_of_its_class():
    kind = type("Int4Tensor", (nn.Parameter,), {"__module__": "torchao.quantization"})
    model = build("mixtral")
    gate = model.model.layers[0].mlp.gate
    gate.weight = kind(gate.weight.detach(), requires_grad=False)
    assert dict(coverage(model).kind("router").formats) == {
        "torchao Int4Tensor": gate.weight.numel()
    }


def test_what_an_adapter_did_to_the_routing():
    model = adapted(target_modules=["q_proj", "v_proj"])
    before = changed_by_adapter(model, IDS)
    assert not before["changed_choices"].any()  # LoRA starts as the base
    assert changed_words(before) == "No token changes an expert in any layer."
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    table = changed_by_adapter(model, IDS)
    without, with_it = trace_routing(build("qwen2_moe"), IDS), trace_routing(model, IDS)
    for row, old, new in zip(table.itertuples(), without.layers, with_it.layers, strict=True):
        pairs = zip(old.experts.flatten(0, 1), new.experts.flatten(0, 1), strict=True)
        lost = [len(set(a.tolist()) - set(b.tolist())) for a, b in pairs]
        assert row.changed_choices == pytest.approx(sum(lost) / (3 * len(lost)))
        assert row.changed_tokens == pytest.approx(sum(map(bool, lost)) / len(lost))
        loads = [torch.bincount(part.experts.flatten(), minlength=8) for part in (old, new)]
        distance = (loads[0] - loads[1]).abs().sum() / (2 * 3 * len(lost))
        assert row.load_distance == pytest.approx(float(distance))
    assert "of all choices change, most in layer" in changed_words(table)


def test_wrong_input():
    with pytest.raises(TypeError, match="^model: "):
        changed_by_adapter(build("mixtral"), IDS)
    with pytest.raises(TypeError, match="^model: "):
        coverage("mini-v2")
    one = trace_routing(build("mixtral"), IDS)
    with pytest.raises(ValueError, match="^after: got 'other tokens'"):
        changed_choices(one, trace_routing(build("mixtral"), IDS.flip(1)))
    with pytest.raises(ValueError, match="^after: .*wants the layers"):
        changed_choices(one, trace_routing(build("deepseek_v2"), IDS))

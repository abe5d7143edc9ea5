"""What generation does to be fast changes nothing: few tokens, room in the cache, last logits,
shared angles."""

import math

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.model import (
    Experts,
    KVCache,
    MoELayer,
    RMSNorm,
    Routing,
    rotary_angles,
    rotate,
    run_loop,
)
from moe_lib.model.fast import ways

LATENT = dict(attention="mla", kv_lora_rank=6, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5)
PROMPT = torch.tensor([[3, 9, 27, 1], [5, 6, 7, 8]])

pytestmark = pytest.mark.usefixtures("one_thread")


def make(**changes):
    torch.manual_seed(0)
    return LanguageModel(
        ModelConfig(
            vocab_size=40,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            n_routed_experts=6,
            num_experts_per_tok=2,
            n_shared_experts=1,
            moe_intermediate_size=8,
            first_k_dense_replace=1,
            max_position_embeddings=40,
            initializer_range=0.4,
            **changes,
        )
    ).eval()


def random_routing(tokens: int, n_experts: int, k: int, dropped: float = 0.0) -> Routing:
    logits = torch.randn(tokens, n_experts)
    weights, experts = logits.softmax(-1).topk(k)
    return Routing(experts, weights, logits.softmax(-1), logits, torch.rand(tokens, k) >= dropped)


@pytest.mark.parametrize("dropped", [0.0, 0.4, 1.1])
@pytest.mark.parametrize("tokens", [1, 2, 9])
@pytest.mark.parametrize("run", [ways.run_pairs, ways.run_small], ids=["pairs", "small"])
def test_the_ways_for_few_tokens_give_what_the_loop_gives(run, tokens, dropped):
    torch.manual_seed(1)
    experts, routing = Experts(5, 16, 12), random_routing(tokens, 5, 3, dropped)
    x = torch.randn(tokens, 16)
    with torch.no_grad():
        wanted = run_loop(x, routing, experts.gate_up_proj, experts.down_proj)
        given = run(x, routing, experts.gate_up_proj, experts.down_proj)
        assert torch.equal(
            experts(x, routing), ways.choose_way(x, routing)(x, routing, *experts.parameters())
        )
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-6)


def test_the_way_is_chosen_by_the_number_of_pairs_and_never_with_gradients():
    x = torch.randn(1, 16)
    with torch.no_grad():
        assert ways.choose_way(x, random_routing(1, 16, 8)) is ways.run_pairs
        assert ways.choose_way(x, random_routing(1, 16, 9)) is ways.run_small
        assert ways.choose_way(x, random_routing(ways.SOME_PAIRS, 4, 2)) is ways.run_in_parts
    assert ways.choose_way(x, random_routing(1, 16, 2)) is ways.run_in_parts
    layer = MoELayer(16, 12, 6, 2)
    output, _ = layer(torch.randn(1, 16))
    output.sum().backward()
    assert layer.experts.down_proj.grad.abs().max() > 0


@pytest.mark.parametrize(
    "changes", [dict(), dict(num_key_value_heads=1), LATENT], ids=["mha", "mqa", "mla"]
)
@torch.no_grad()
def test_a_cache_with_room_holds_and_gives_what_a_growing_one_does(changes):
    model = make(**changes)
    growing, roomy = KVCache(), KVCache(room=9)
    for chunk in PROMPT.repeat(1, 2).split((3, 4, 1), dim=1):
        torch.testing.assert_close(
            model(chunk, cache=roomy).logits, model(chunk, cache=growing).logits, rtol=0, atol=1e-5
        )
        assert (
            roomy.length == growing.length
            and roomy.number_of_elements() == growing.number_of_elements()
        )
    for mine, other in zip(roomy.keys + roomy.values, growing.keys + growing.values, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)
    before = [key.data_ptr() for key in roomy.keys]
    model(PROMPT[:, :1], cache=roomy)
    assert [key.data_ptr() for key in roomy.keys] == before, "written in place"
    with pytest.raises(ValueError, match="room: got 9; wants at least 10, or None"):
        model(PROMPT[:, :1], cache=roomy)
    with pytest.raises(ValueError, match="room: got 0"):
        KVCache(room=0)


@torch.no_grad()
def test_last_logits_alone_are_the_last_of_all():
    model = make(**LATENT)
    torch.testing.assert_close(
        model(PROMPT, last_logits_only=True).logits, model(PROMPT).logits[:, -1:]
    )
    with pytest.raises(ValueError, match="last_logits_only: got True; wants False with labels"):
        model(PROMPT, labels=PROMPT, last_logits_only=True)


@pytest.mark.parametrize("changes", [dict(), LATENT], ids=["mha", "mla"])
def test_a_mask_that_hides_nothing_changes_nothing(changes):
    model = make(**changes)
    assert torch.equal(
        model.generate(PROMPT, 12, attention_mask=torch.ones_like(PROMPT)),
        model.generate(PROMPT, 12),
    )


def test_rotating_follows_the_formula():
    x, angles = (
        torch.randn(2, 3, 5, 8, dtype=torch.float64),
        rotary_angles(torch.arange(5)[None], 8),
    )
    turned = rotate(x, angles, magnitude=1.5)
    for position, pair in ((0, 0), (3, 1), (4, 3)):
        a, b = x[1, 2, position, 2 * pair : 2 * pair + 2].tolist()
        angle = float(angles[0, position, pair])
        wanted = [
            a * math.cos(angle) - b * math.sin(angle),
            b * math.cos(angle) + a * math.sin(angle),
        ]
        given = turned[1, 2, position, 2 * pair : 2 * pair + 2].tolist()
        assert given == pytest.approx([1.5 * number for number in wanted], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_norm_follows_its_formula_and_takes_the_mean_in_float32(dtype):
    norm = RMSNorm(16, eps=0.1).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(16))
    x = torch.randn(3, 16, dtype=dtype)
    wide = x.double()
    wanted = wide / (wide.square().mean(-1, keepdim=True) + 0.1).sqrt() * norm.weight.double()
    bound = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.02}[dtype]
    assert (
        norm(x).dtype == dtype
        and (norm(x).double() - wanted).abs().max() < bound * wanted.abs().max()
    )

"""Layers and functions of the model that are called by themselves name what does not fit them."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.model import MoELayer, RMSNorm, expert_balance_loss, make_router
from moe_lib.model.attention import Attention, visible_keys
from moe_lib.model.experts import Experts, run_loop, run_masked, run_sorted
from moe_lib.model.fast.ways import run_grouped
from moe_lib.model.latent_attention import LatentAttention
from moe_lib.model.layers import SwiGLU
from moe_lib.model.rotary import rotary_angles, rotate
from moe_lib.model.routers import Router
from moe_lib.tracing.analysis.comparing_readings import total_variation
from moe_lib.tracing.routing_in_the_plane import PlaneSettings, route_plane
from moe_lib.training.bias_update import update_selection_biases

X, IDS = torch.randn(5, 16), torch.arange(10).view(2, 5)
NAN = torch.tensor([1.0, float("nan"), 1, 1])
GATE_UP, DOWN = torch.randn(4, 16, 16), torch.randn(4, 16, 8)
ANGLES = rotary_angles(torch.arange(3), 4)[None]


def layer() -> MoELayer:
    return MoELayer(16, 8, 4, 2)


def routing(tokens: int = 5):
    return make_router("topk", 16, 4, 2)(torch.randn(tokens, 16))


def config(**changes) -> ModelConfig:
    return ModelConfig.preset("tiny", **changes)


def latent() -> LatentAttention:
    sizes = dict(kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8)
    return LatentAttention(config(attention="mla", **sizes), 0)


def test_the_calls_that_the_wrong_ones_are_made_from_work():
    layer()(X)
    Experts(4, 16, 8)(X, routing())
    for run in (run_masked, run_loop, run_sorted, run_grouped):
        run(X, routing(), GATE_UP, DOWN)
    width = latent().d
    latent()(torch.randn(1, 3, width), ANGLES)
    rotate(torch.randn(1, 2, 3, 4), ANGLES)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("x", lambda: layer()(X.double())),
        ("x", lambda: layer()(X.half())),
        ("x", lambda: layer().half()(X)),
        ("x", lambda: layer()(X.to("meta"))),
        ("mask", lambda: layer()(X, mask=torch.ones(5, dtype=torch.bool, device="meta"))),
        ("x", lambda: make_router("topk", 16, 4, 2)(X.to("meta"))),
        ("x", lambda: RMSNorm(16)(X[:, :8])),
        ("x", lambda: RMSNorm(16)([1.0])),
        ("x", lambda: SwiGLU(16, 8)(X[:, :7])),
        ("x", lambda: SwiGLU(16, 8)(X.double())),
        ("x", lambda: Experts(4, 16, 8)(X[:, :7], routing())),
        ("x", lambda: Experts(4, 16, 8)(X.double(), routing())),
        ("x", lambda: Experts(4, 16, 8)(X, routing(6))),
        ("routing", lambda: Experts(4, 16, 8)(X, None)),
        ("gate_up_proj", lambda: Experts(5, 16, 8)(X, routing())),
        *(
            case
            for run in (run_masked, run_loop, run_sorted, run_grouped)
            for case in (
                ("gate_up_proj", lambda run=run: run(X, routing(), GATE_UP[..., :15], DOWN)),
                ("down_proj", lambda run=run: run(X, routing(), GATE_UP, DOWN[..., :7])),
                ("routing", lambda run=run: run(X, None, GATE_UP, DOWN)),
                ("x", lambda run=run: run(X[:4], routing(), GATE_UP, DOWN)),
            )
        ),
        ("x", lambda: latent()(torch.randn(1, 3, 15), ANGLES)),
        ("angles", lambda: latent()(torch.randn(1, 5, latent().d), ANGLES)),
        ("layer", lambda: LatentAttention(latent_config(), 99)),
        ("layer", lambda: Attention(config(), 99)),
        ("x", lambda: Attention(config(), 0)(torch.randn(1, 3, 15), ANGLES)),
        ("x", lambda: rotate(torch.randn(4, 6), rotary_angles(torch.arange(4), 6)[None])),
        ("angles", lambda: rotate(torch.randn(1, 2, 3, 4), ANGLES[0])),
        ("angles", lambda: rotate(torch.randn(1, 2, 3, 4), ANGLES.expand(2, -1, -1))),
        ("causal", lambda: visible_keys("yes", 3, None)),
        ("queries", lambda: visible_keys(True, 1.5, None)),
        ("past", lambda: visible_keys(True, 3, None, past=-1)),
        ("attention_mask", lambda: visible_keys(True, 3, torch.ones(1, 3), past=5)),
        ("router", lambda: Router(16, 4, 2)(X)),
        ("load", lambda: make_router("biased_topk", 16, 4, 2).update_bias(NAN, 0.1)),
        ("load", lambda: make_router("biased_topk", 16, 4, 2).update_bias(-NAN[[0, 0, 0, 0]], 0.1)),
        ("load", lambda: update_selection_biases(biased_model(), [NAN, NAN], 0.1)),
        ("mask", lambda: expert_balance_loss(routing(), mask=torch.full((5,), 0.5))),
        ("mask", lambda: expert_balance_loss(routing(), mask=torch.full((5,), 3))),
        ("mask", lambda: routing().load(torch.full((5,), 3))),
        ("points", lambda: route_plane(torch.full((2, 2), torch.nan), PLANE, PlaneSettings())),
        ("directions", lambda: route_plane(PLANE[:2], PLANE * torch.inf, PlaneSettings())),
        ("one", lambda: total_variation(NAN, NAN)),
        ("other", lambda: total_variation(torch.ones(4), torch.ones(3))),
    ],
)
def test_it_is_named(argument, call):
    with pytest.raises((ValueError, TypeError), match=f"^{argument}: got .*; wants "):
        call()


PLANE = torch.randn(8, 2)


def latent_config() -> ModelConfig:
    sizes = dict(kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8)
    return config(attention="mla", **sizes)


def biased_model() -> LanguageModel:
    return LanguageModel(config(router="biased_topk", num_hidden_layers=2))


def test_a_mask_on_another_device():
    mask = torch.ones(2, 5, dtype=torch.int64, device="meta")
    with pytest.raises(
        ValueError, match="attention_mask: got 'a tensor on meta'; wants one on cpu"
    ):
        LanguageModel(config())(IDS, attention_mask=mask)

"""Norm, feed-forward, rotary positions and attention against torch and against plain loops."""

import math

import pytest
import torch

from moe_lib import ModelConfig
from moe_lib.model import Attention, RMSNorm, SwiGLU, rotary_angles, rotate, visible_keys


def test_rms_norm_equals_torch():
    torch.manual_seed(0)
    x = torch.randn(3, 5, 8)
    ours, official = RMSNorm(8, eps=1e-3), torch.nn.RMSNorm(8, eps=1e-3)
    with torch.no_grad():
        ours.weight.normal_()
        official.weight.copy_(ours.weight)
    assert torch.allclose(ours(x), official(x), atol=1e-6)
    assert ours.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_swiglu_by_hand():
    layer = SwiGLU(1, 1)
    with torch.no_grad():
        layer.gate_proj.weight.fill_(2.0)
        layer.up_proj.weight.fill_(3.0)
        layer.down_proj.weight.fill_(5.0)
    silu = 2 / (1 + math.exp(-2))
    assert layer(torch.ones(1, 1)).item() == pytest.approx(silu * 3 * 5, rel=1e-6)


def test_rotation_is_complex_multiplication_of_neighbours():
    torch.manual_seed(0)
    x, positions = torch.randn(2, 3, 7, 8), torch.arange(7)[None]
    angles = rotary_angles(positions, 8, theta=100.0)
    as_complex = torch.view_as_complex(x.unflatten(-1, (4, 2)).contiguous())
    turned = as_complex * torch.polar(torch.ones_like(angles), angles)[:, None]
    assert torch.allclose(rotate(x, angles), torch.view_as_real(turned).flatten(-2), atol=1e-6)
    assert angles[0, 3].tolist() == pytest.approx([3.0, 3 / 100**0.25, 3 / 10, 3 / 100**0.75])


def test_dot_products_depend_on_distance_alone():
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(i, j):
        turned = [rotate(v, rotary_angles(torch.tensor([[p]]), 16)) for v, p in ((q, i), (k, j))]
        return (turned[0] * turned[1]).sum().item()

    assert score(3, 1) == pytest.approx(score(103, 101), abs=1e-4)
    assert abs(score(3, 1) - score(3, 2)) > 1e-3


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attention_equals_loops(causal, kv_heads):
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=9,
        hidden_size=16,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        causal=causal,
    )
    layer, x = Attention(config, 0), torch.randn(1, 6, 16)
    angles = rotary_angles(torch.arange(6)[None], 4)
    q = rotate(layer.q_proj(x).view(1, 6, 4, 4).transpose(1, 2), angles)[0]
    k = rotate(layer.k_proj(x).view(1, 6, kv_heads, 4).transpose(1, 2), angles)[0]
    v = layer.v_proj(x).view(6, kv_heads, 4)
    mixed = torch.zeros(6, 4, 4)
    for head in range(4):
        shared = head * kv_heads // 4
        for t in range(6):
            seen = range(t + 1) if causal else range(6)
            scores = torch.stack([q[head, t] @ k[shared, j] / 2 for j in seen]).softmax(0)
            mixed[t, head] = sum(w * v[j, shared] for w, j in zip(scores, seen, strict=True))
    assert torch.allclose(layer(x, angles)[0], layer.o_proj(mixed.view(6, 16)), atol=1e-5)


def test_visible_keys_by_hand():
    mask = torch.tensor([[0, 1, 1]])
    assert visible_keys(True, 3, mask)[0, 0].tolist() == [
        [True, False, False],
        [False, True, False],
        [False, True, True],
    ]
    assert visible_keys(False, 3, mask)[0, 0].tolist() == [
        [True, True, True],
        [False, True, True],
        [False, True, True],
    ]
    assert visible_keys(True, 2, None, past=2)[0, 0].tolist() == [
        [True, True, True, False],
        [True] * 4,
    ]
    assert visible_keys(True, 5, None) is None and visible_keys(True, 1, None, past=4) is None

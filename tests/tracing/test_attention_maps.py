"""Attention weights of a model that carries a tuning method. Plain models:
tests/views/test_attention_view.py."""

import pytest
import torch

from moe_lib.model import LatentAttention
from moe_lib.text import load_tokenizer
from moe_lib.tracing.attention_maps import attention_maps, attention_weights
from moe_lib.tuning.methods import LoRA, Prefix
from moe_lib.tuning.methods.prefix import split_heads
from tests.tuning.methods.promises import MLA, disturb
from tests.tuning.small import make_base, random_ids

ATTENTIONS = {"multi-head": {}, "grouped": dict(num_key_value_heads=1), "latent": MLA}


def joined_values(attention, x):
    """(batch, heads, prefix + sequence, value width): values of the prefix, then of the text."""
    parts = split_heads(attention, attention.prefix())
    if isinstance(attention, LatentAttention):
        memory = attention.memory(
            x, torch.zeros(1, x.shape[1], 2)
        )  # positions do not change values
        return attention.keys_and_values(
            torch.cat((parts[0].expand(len(x), -1, -1, -1), memory), dim=2)
        )[1]
    own = attention.v_proj(x).unflatten(-1, (attention.kv_heads, -1)).transpose(1, 2)
    values = torch.cat((parts[1].expand(len(x), -1, -1, -1), own), dim=2)
    return values.repeat_interleave(attention.heads // attention.kv_heads, dim=1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("changes", ATTENTIONS.values(), ids=ATTENTIONS)
@torch.no_grad()
def test_with_a_prefix_weights_times_joined_values_are_what_each_layer_gives(changes, causal):
    base, ids, layers = make_base(causal=causal, **changes).eval(), random_ids(2, 5), []
    Prefix(3).attach(base)
    for block in base.layers:
        block.attention.register_forward_hook(
            lambda layer, given, output: layers.append((layer, given[0], output))
        )
    weights = attention_weights(base, ids)
    assert weights.shape == (2, 2, 2, 5, 3 + 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 2, 5))
    assert (weights[..., :3] > 0).all()  # every query sees the whole prefix
    assert bool((weights[..., 3:].triu(1) == 0).all()) == causal
    for found, (attention, x, output) in zip(weights, layers, strict=True):
        mixed = attention.o_proj((found @ joined_values(attention, x)).transpose(1, 2).flatten(-2))
        torch.testing.assert_close(mixed, output, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("changes", ATTENTIONS.values(), ids=ATTENTIONS)
def test_a_prefix_that_is_off_leaves_the_weights_of_the_base(changes):
    base, ids = make_base(causal=True, **changes).eval(), random_ids(2, 5)
    plain = attention_weights(base, ids)
    attached = Prefix(3).attach(base)
    assert attention_weights(base, ids[:, :1]).shape[-2:] == (
        1,
        4,
    )  # one token sees the prefix and itself
    attached.enabled = False
    assert torch.equal(attention_weights(base, ids), plain)
    attached.detach()
    assert torch.equal(attention_weights(base, ids), plain)


@pytest.mark.parametrize("changes", ATTENTIONS.values(), ids=ATTENTIONS)
def test_a_lora_counts_as_it_does_when_it_is_merged(changes):
    base, ids = make_base(causal=True, **changes).eval(), random_ids(2, 5)
    plain = attention_weights(base, ids)
    attached = LoRA(rank=2).attach(base)
    disturb(attached)
    found = attention_weights(base, ids)
    assert (found - plain).abs().max() > 1e-2
    attached.merge()
    torch.testing.assert_close(attention_weights(base, ids), found, atol=1e-5, rtol=1e-4)


def test_maps_are_refused_while_a_prefix_is_on():
    base, tokenizer = make_base(causal=True, vocab_size=4096), load_tokenizer()
    attached = Prefix(3).attach(base)
    with pytest.raises(
        ValueError,
        match="model: got 'a model with 3 keys before the text'; wants .*enabled = False",
    ):
        attention_maps(base, tokenizer, "one two three")
    attached.enabled = False
    assert attention_maps(base, tokenizer, "one two three").weights.shape[-1] >= 3

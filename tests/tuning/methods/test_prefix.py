"""Prefix-tuning against attention written out over joined keys, against real tokens read before,
and the promises."""

import copy

import pytest
import torch

from moe_lib.counting import kv_cache_elements_per_token
from moe_lib.model import KVCache, LatentAttention, rotary_angles, rotate
from moe_lib.tuning.methods import Prefix, count_trainable, load_adapter
from tests.tuning.methods.promises import (
    BASES,
    MLA,
    check_off_copied_and_detached,
    check_saved_and_loaded,
    check_training,
    disturb,
    logits,
)
from tests.tuning.small import make_base, padded, random_ids

METHODS = {"plain": Prefix(3), "MLP": Prefix(3, reparameterise=True, hidden=5)}
ATTENTIONS = {"multi-head": {}, "grouped": dict(num_key_value_heads=1), "latent": MLA}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("changes", BASES.values(), ids=BASES)
def test_off_is_the_base_and_detach_restores_it(changes, method):
    check_off_copied_and_detached(method, **changes)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(
    "changes", [BASES["causal, grouped"], BASES["latent"]], ids=["grouped", "latent"]
)
def test_saved_and_loaded_elsewhere_without_its_mlp(changes, method, tmp_path):
    loaded = check_saved_and_loaded(method, tmp_path, **changes)
    assert loaded.method == Prefix(3)
    assert set(loaded.trainable_parameters()) == {
        f"layers.{i}.attention.prefix.vectors" for i in (0, 1)
    }


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("changes", [BASES["masked"], BASES["latent"]], ids=["masked", "latent"])
def test_only_the_prefix_is_trained(changes, method):
    moved, run = check_training(method, **changes)
    assert moved == [] and len(run.history) == 5


def attend_by_hand(attention, x, keys, values, causal, real):
    """One row, one head, one query at a time. keys (P + S, heads, …) of row and prefix; real (S,)
    bool."""
    if isinstance(attention, LatentAttention):
        query, scale = attention.query(x[None], rotary(attention, len(x)))[0], attention.scale
    else:
        query = rotate(attention.split(attention.q_proj(x[None])), rotary(attention, len(x)))[0]
        scale = attention.head_dim**-0.5
    length, rows = len(keys) - len(x), []
    for place in range(len(x)):
        heads = []
        for head in range(attention.heads):
            group = head * keys.shape[1] // attention.heads
            seen = [
                j
                for j in range(len(keys))
                if j < length
                or j - length == place
                or (real[j - length] and (not causal or j - length <= place))
            ]
            scores = torch.stack(
                [scale * query[head, place] @ keys[j, group] for j in seen]
            ).softmax(0)
            heads.append(
                sum(weight * values[j, group] for weight, j in zip(scores, seen, strict=True))
            )
        rows.append(torch.cat(heads))
    return attention.o_proj(torch.stack(rows))


def rotary(attention, length):
    dim = attention.rope_dim if isinstance(attention, LatentAttention) else attention.head_dim
    return rotary_angles(torch.arange(length)[None], dim)


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("changes", ATTENTIONS.values(), ids=ATTENTIONS)
@torch.no_grad()
def test_attention_runs_over_the_joined_keys_and_values(changes, causal, padding):
    base = make_base(causal=causal, **changes).eval()
    vectors = torch.randn(
        3, kv_cache_elements_per_token(base.config) // 2, generator=torch.Generator().manual_seed(1)
    )
    Prefix(3).attach(base)
    attention, x, n = base.layers[0].attention, torch.randn(5, 16), 3 if padding else 5
    attention.prefix.vectors.copy_(vectors)
    real = torch.arange(5) < n
    if isinstance(attention, LatentAttention):
        memory = attention.memory(x[None], rotary(attention, 5))
        keys, values = attention.keys_and_values(torch.cat((vectors[None, None], memory), dim=2))
    else:

        def heads(projection):
            return attention.split(projection(x[None]))

        own = rotate(heads(attention.k_proj), rotary(attention, 5)), heads(attention.v_proj)
        first = [
            half.unflatten(1, (-1, attention.head_dim)).transpose(0, 1)[None]
            for half in vectors.chunk(2, dim=1)
        ]
        keys, values = (torch.cat(parts, dim=2) for parts in zip(first, own, strict=True))
    wanted = attend_by_hand(
        attention, x, keys[0].transpose(0, 1), values[0].transpose(0, 1), causal, real
    )
    visible = None
    if padding:
        seen = (
            torch.ones(5, 5, dtype=torch.bool).tril()
            if causal
            else torch.ones(5, 5, dtype=torch.bool)
        )
        visible = (seen & real | torch.eye(5, dtype=torch.bool))[None, None]
    found = attention(x[None], rotary(attention, 5), visible)[0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("changes", ATTENTIONS.values(), ids=ATTENTIONS)
@torch.no_grad()
def test_the_cache_of_real_tokens_is_a_prefix_that_does_what_the_tokens_do(changes):
    base, prompt, text = (
        make_base(causal=True, **changes).eval(),
        random_ids(1, 4, seed=1),
        random_ids(3, 6, seed=2),
    )
    wanted = logits(base, torch.cat((prompt.expand(3, -1), text), dim=1))[:, 4:]
    cache = KVCache()
    base(prompt, cache=cache)
    Prefix(4).attach(base)
    for layer, block in enumerate(base.layers):
        # the text starts at position 0 here, so the prompt stands at -4 … -1: all turned back by 4
        back, keys = rotary_angles(torch.tensor([[-4]]), base.config.rotary_dim), cache.keys[layer]
        if cache.values:
            parts = rotate(keys, back), cache.values[layer]
        else:
            latent, key = keys.split(
                (base.config.kv_lora_rank, base.config.qk_rope_head_dim), dim=-1
            )
            parts = (torch.cat((latent, rotate(key, back)), dim=-1),)
        block.attention.prefix.vectors.copy_(
            torch.cat([part[0].transpose(0, 1).flatten(1) for part in parts], dim=1)
        )
    torch.testing.assert_close(logits(base, text), wanted, atol=1e-4, rtol=1e-3)
    assert (
        logits(base, text) - logits(make_base(causal=True, **changes).eval(), text)
    ).abs().max() > 1e-2


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("changes", ATTENTIONS.values(), ids=ATTENTIONS)
@torch.no_grad()
def test_padding_changes_nothing_on_either_side(changes, causal):
    base, ids = make_base(causal=causal, **changes).eval(), random_ids(2, 6)
    Prefix(3).attach(base)
    wanted = logits(base, ids)
    for side in ("left", "right"):
        longer, mask = padded(ids, 3, side)
        found = base(longer, attention_mask=mask).logits
        found = found[:, 3:] if side == "left" else found[:, :6]
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("changes", ATTENTIONS.values(), ids=ATTENTIONS)
def test_writing_with_the_cache_is_writing_without(changes):
    base = make_base(causal=True, **changes).eval()
    ids, mask = padded(random_ids(2, 4), 2, "left")
    mask[1] = 1
    plain = base.generate(ids, 8, attention_mask=mask)
    Prefix(3).attach(base)
    written = base.generate(ids, 8, attention_mask=mask)
    assert torch.equal(written, base.generate(ids, 8, attention_mask=mask, use_cache=False))
    assert not torch.equal(written, plain)
    cache = KVCache()
    with torch.no_grad():
        parts = [base(part, cache=cache).logits for part in ids.split((3, 2, 1), dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), logits(base, ids), atol=1e-4, rtol=1e-3)
    assert cache.length == 6  # the prefix is not in it


def test_the_mlp_is_the_formula_and_can_be_dropped(tmp_path):
    base = make_base(**MLA).eval()
    attached = Prefix(3, reparameterise=True, hidden=5).attach(base)
    disturb(attached)
    wanted, named = logits(base), dict(base.named_parameters())
    trunk = {name.rpartition("trunk.")[2]: p for name, p in named.items() if ".trunk." in name}
    hidden = torch.tanh(trunk["embedding"] @ trunk["linear.weight"].T + trunk["linear.bias"])
    for layer in (0, 1):
        out = f"layers.{layer}.attention.prefix.out"
        by_hand = hidden @ named[f"{out}.weight"].T + named[f"{out}.bias"]
        torch.testing.assert_close(
            attached.tensors()[f"layers.{layer}.attention.prefix.vectors"], by_hand
        )
    with_mlp = attached.n_trainable
    assert with_mlp == 3 * 16 + (16 * 5 + 5) + 2 * (5 * 16 + 16)
    twin = copy.deepcopy(base)
    attached.save(tmp_path)
    attached.drop_mlp()
    assert torch.equal(logits(base), wanted) and torch.equal(logits(twin), wanted)
    assert (
        attached.n_trainable
        == 3 * 2 * 16
        == count_trainable(attached.method, base.config)
        < with_mlp
    )
    load_adapter(tmp_path, attached.detach())
    assert torch.equal(logits(base), wanted)


def test_counts_and_bad_settings():
    config = make_base(num_key_value_heads=1).config
    assert (
        count_trainable(Prefix(5), config) == 2 * 5 * 2 * 8
    )  # layers, places, a key and a value of one head
    assert count_trainable(Prefix(5), make_base(**MLA).config) == 2 * 5 * (12 + 4)
    for settings, error, message in (
        (dict(length=0), ValueError, "length: got 0"),
        (dict(reparameterise=1), TypeError, "reparameterise: got 1"),
        (dict(hidden=8), ValueError, "hidden: got 8; wants None"),
        (dict(reparameterise=True, hidden=0), ValueError, "hidden: got 0"),
    ):
        with pytest.raises(error, match=message):
            Prefix(**settings)
    with pytest.raises(ValueError, match="Prefix cannot be merged"):
        Prefix(2).attach(make_base()).merge()

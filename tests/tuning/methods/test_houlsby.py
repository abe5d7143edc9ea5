"""Adapters against the formula written out with a block's own parts, and the promises of every
method."""

import pytest
import torch
import torch.nn.functional as F

from moe_lib import ModelConfig
from moe_lib.model import MoELayer, rotary_angles
from moe_lib.tuning.methods import Houlsby, count_trainable
from tests.tuning.methods.promises import (
    BASES,
    check_off_copied_and_detached,
    check_saved_and_loaded,
    check_training,
    disturb,
    logits,
)
from tests.tuning.small import make_base, random_ids


@pytest.mark.parametrize("train_norms", [False, True])
@pytest.mark.parametrize("changes", BASES.values(), ids=BASES)
def test_off_is_the_base_and_detach_restores_it(changes, train_norms):
    check_off_copied_and_detached(Houlsby(bottleneck=3, train_norms=train_norms), **changes)


@pytest.mark.parametrize("train_norms", [False, True])
def test_saved_and_loaded_elsewhere(tmp_path, train_norms):
    check_saved_and_loaded(
        Houlsby(bottleneck=3, train_norms=train_norms), tmp_path, **BASES["latent"]
    )


@pytest.mark.parametrize("train_norms", [False, True])
def test_only_adapters_and_norms_are_trained(train_norms):
    moved, run = check_training(Houlsby(bottleneck=3, train_norms=train_norms), **BASES["latent"])
    assert len(moved) == (5 if train_norms else 0)  # two norms in each of two blocks, and the last
    assert all("norm" in name and "kv_norm" not in name for name in moved)
    assert run.attached.n_trainable == 2 * 2 * (2 * 3 * 16 + 16 + 3) + (
        5 * 16 if train_norms else 0
    )


def adapter(h, module):
    hidden = h @ module.down.weight.T + module.down.bias
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))  # gelu, written out
    return h + hidden @ module.up.weight.T + module.up.bias


@pytest.mark.parametrize("changes", BASES.values(), ids=BASES)
def test_output_and_gradients_are_those_of_the_formula(changes):
    base, ids = make_base(**changes).eval(), random_ids(2, 7)
    plain = logits(base, ids)
    attached = Houlsby(bottleneck=3).attach(base)
    assert (logits(base, ids) - plain).abs().max() < 1e-2  # nearly the base at the start
    disturb(attached)
    base(ids).logits.square().sum().backward()
    found = {name: p.grad.clone() for name, p in attached.trainable_parameters().items()}
    base.zero_grad()

    modules = [(block.attention.adapter, block.feed_forward.adapter) for block in base.layers]
    for hook in attached.hooks:
        hook.remove()  # from here on the blocks know nothing of their adapters
    x = base.embedding(ids)
    angles = rotary_angles(torch.arange(7)[None], base.config.rotary_dim, base.config.rope_theta)
    for block, (first, second) in zip(base.layers, modules, strict=True):
        x = x + adapter(block.attention(block.attention_norm(x), angles), first)
        update = block.feed_forward(block.feed_forward_norm(x))
        x = x + adapter(update[0] if isinstance(block.feed_forward, MoELayer) else update, second)
    wanted = F.linear(base.norm(x), base.head.weight)
    wanted.square().sum().backward()
    for name, parameter in attached.trainable_parameters().items():
        torch.testing.assert_close(
            found[name], parameter.grad, rtol=1e-3, atol=1e-3 * float(parameter.grad.abs().max())
        )


def test_counts_of_the_literature_merging_and_bad_settings():
    bert = ModelConfig(
        vocab_size=30522, hidden_size=768, num_hidden_layers=12, num_attention_heads=12
    )
    assert count_trainable(Houlsby(64), bert) == 2_379_264  # 2.38 million, 2.2% of BERT-base
    attached = Houlsby(4).attach(make_base())
    with pytest.raises(ValueError, match="Houlsby cannot be merged"):
        attached.merge()
    with pytest.raises(ValueError, match="bottleneck: got 0"):
        Houlsby(0)
    with pytest.raises(TypeError, match="train_norms: got 1"):
        Houlsby(4, train_norms=1)

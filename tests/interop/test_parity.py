"""Our model gives transformers' logits for every legal DeepSeek-V2, both from its weights and back
in its files."""

import warnings

import pytest
import torch
from transformers import AutoModelForCausalLM, DeepseekV2Config, DeepseekV2ForCausalLM

from moe_lib.counting import count_parameters
from moe_lib.interop import from_transformers, save_transformers
from moe_lib.interop.configs import config_from_transformers
from moe_lib.interop.names import stacked_name
from moe_lib.model import KVCache, LanguageModel
from moe_lib.published import published
from tests.interop.official import CONFIGS, ids, make_official, relative_error

# transformers' expert of width 0 where there are no shared experts
pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")


@pytest.mark.parametrize("name", CONFIGS)
def test_same_logits_there_and_back(name, tmp_path):
    official = make_official(name)
    ours = from_transformers(official)
    assert not ours.training
    assert relative_error(ours, official).max() < 1e-5
    save_transformers(ours, tmp_path)
    back, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(back) is type(official)
    assert (
        not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    ), info
    assert relative_error(back, official).max() < 1e-6
    again = from_transformers(tmp_path)
    assert again.config == ours.config
    assert all(
        torch.equal(mine, ours.state_dict()[key]) for key, mine in again.state_dict().items()
    )


@pytest.mark.parametrize(
    "name", ["base", "groups", "yarn, uneven", "everything", "no shared experts"]
)
def test_same_greedy_tokens_alone_and_padded(name, tmp_path):
    ours = from_transformers(make_official(name))
    back = AutoModelForCausalLM.from_pretrained(save_transformers(ours, tmp_path))
    x = ids(batch=2, length=6)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6])
    options = dict(max_new_tokens=30, do_sample=False)
    theirs = back.generate(x, attention_mask=torch.ones_like(x), **options)
    assert torch.equal(ours.generate(x, 30), theirs)
    assert len(set(theirs[0, 6:].tolist())) > 3, "a constant continuation would prove little"
    theirs = back.generate(x, attention_mask=mask, pad_token_id=0, **options)
    assert torch.equal(ours.generate(x, 30, attention_mask=mask), theirs)


@torch.no_grad()
def test_cached_logits_equal_transformers_at_every_position():
    official = make_official("everything")
    ours, x, cache = from_transformers(official), ids(), KVCache()
    theirs = official(x).logits
    mine = torch.cat(
        [ours(piece, cache=cache).logits for piece in (x[:, :5], *x[:, 5:].split(1, dim=1))], dim=1
    )
    assert ((mine - theirs).abs().amax((0, 2)) / theirs.abs().max()).max() < 1e-5


def test_far_positions_agree():
    official = make_official("yarn, even", max_position_embeddings=1024, qk_rope_head_dim=32)
    assert (
        relative_error(from_transformers(official), official, ids(batch=1, length=1000)).max()
        < 1e-5
    )


def test_bfloat16_chooses_the_same_experts_in_float32():
    official = make_official("groups").bfloat16()
    ours = from_transformers(official)
    assert ours.embedding.weight.dtype == torch.bfloat16
    router = ours.layers[1].feed_forward.router
    theirs = official.model.layers[1].mlp.gate
    x = torch.randn(200, 24).bfloat16()
    with torch.no_grad():
        logits, weights, experts = theirs(x)
        routing = router(x)
    assert torch.equal(routing.logits, logits) and routing.logits.dtype == torch.float32
    order, other = routing.experts.sort(-1), experts.sort(-1)
    assert torch.equal(order.values, other.values)
    torch.testing.assert_close(
        routing.weights.gather(1, order.indices), weights.gather(1, other.indices)
    )
    assert from_transformers(official, dtype=torch.float32).embedding.weight.dtype == torch.float32


def test_weights_are_copies_and_trainable():
    official = make_official("tied")
    ours = from_transformers(official)
    assert ours.head.weight is ours.embedding.weight
    x = ids()
    before = official(x).logits.detach()
    ours(x, labels=x).loss.backward()
    assert all(p.grad is not None for p in ours.parameters())
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert torch.equal(official(x).logits, before)


def test_parameters_are_counted_alike():
    for name in ("base", "no query rank", "groups", "tied"):
        official = make_official(name)
        ours = from_transformers(official)
        assert sum(p.numel() for p in ours.parameters()) == official.num_parameters()
        assert count_parameters(ours.config).total == official.num_parameters()


@pytest.mark.parametrize("name", ["DeepSeek-V2", "DeepSeek-V2-Lite"])
def test_the_published_sizes_match_tensor_by_tensor(name):
    sizes = vars(published(name).sizes).copy()
    for ours_alone in ("head_dim", "qk_norm"):
        sizes.pop(ours_alone)
    groups = (
        dict(topk_method="group_limited_greedy", n_group=8, topk_group=3)
        if name == "DeepSeek-V2"
        else {}
    )
    rope = dict(
        type="yarn",
        factor=40,
        original_max_position_embeddings=4096,
        beta_fast=32,
        beta_slow=1,
        mscale=0.707,
        mscale_all_dim=0.707,
    )
    with torch.device("meta"):  # shapes alone: nothing is allocated
        official = DeepseekV2ForCausalLM(
            DeepseekV2Config(**sizes, **groups, rope_scaling=rope, max_position_embeddings=163840)
        )
        ours = LanguageModel(config_from_transformers(official.config))
    theirs = {key: tensor.shape for key, tensor in official.state_dict().items()}
    assert {stacked_name(key): tensor.shape for key, tensor in ours.state_dict().items()} == theirs
    billions = count_parameters(ours.config).total / 1e9
    assert sum(shape.numel() for shape in theirs.values()) / 1e9 == billions
    stated = published(name).total
    assert f"{billions:.{len(stated.partition('.')[2][:-1])}f}B" == stated


@pytest.mark.parametrize(
    ("setting", "value"),
    [("norm_topk_prob", True), ("scoring_func", "sigmoid"), ("moe_layer_freq", 2)],
)
def test_what_transformers_ignores_is_ignored_aloud(setting, value):
    official = make_official(**{setting: value})
    with pytest.warns(
        UserWarning, match=f"{setting}: got {value!r}, which transformers' DeepSeek-V2 ignores"
    ):
        ours = from_transformers(official)
    assert relative_error(ours, official).max() < 1e-5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_transformers(make_official())


def test_balance_factors_survive_the_trip(tmp_path):
    official = make_official("groups", aux_loss_alpha=0.003, seq_aux=False)
    config = from_transformers(official).config
    assert (config.aux_loss_alpha, config.seq_aux, config.device_loss_alpha) == (0.003, False, 0.0)
    ours = from_transformers(official)
    ours.config = config.replace(device_loss_alpha=0.05, communication_loss_alpha=0.02)
    assert from_transformers(save_transformers(ours, tmp_path)).config == ours.config
    assert from_transformers(make_official()).config.aux_loss_alpha == 0, (
        "transformers trains without"
    )

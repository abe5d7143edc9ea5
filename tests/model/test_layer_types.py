"""A router kind per block (`mlp_layer_types`): a table of token ids first, learned after, as in
DeepSeek-V4, and everything that the library does with a model."""

import json

import pytest
import torch

from moe_lib import (
    LanguageModel,
    ModelConfig,
    explore,
    load_checkpoint,
    save_checkpoint,
    trace_routing,
    train,
)
from moe_lib.counting import count_parameters
from moe_lib.interop import save_transformers
from moe_lib.model import BiasedTopKRouter, GatedHashRouter
from moe_lib.model.balance import total_balance_loss
from moe_lib.text import load_tokenizer
from moe_lib.tracing import experts_off, experts_per_token
from moe_lib.training.upcycling import upcycle
from moe_lib.tuning.methods import RouterOnly, count_trainable
from moe_lib.tuning.saving import fingerprint
from tests.training.small import RandomBatches, weights_of

KINDS = ("dense", "hash_moe", "moe")


def config(**changes):
    fields = dict(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_shared_experts=1,
        moe_intermediate_size=8,
        first_k_dense_replace=1,
        mlp_layer_types=list(KINDS),
        router="biased_topk",
        scoring_func="sqrtsoftplus",
        norm_topk_prob=True,
        routed_scaling_factor=1.5,
        max_position_embeddings=32,
        initializer_range=0.3,
    )
    return ModelConfig(**{**fields, **changes})


def make(seed=0, **changes):
    torch.manual_seed(seed)
    return LanguageModel(config(**changes))


def routers(model):
    return [getattr(layer.feed_forward, "router", None) for layer in model.layers]


def ids(rows=2, length=12):
    return torch.randint(0, 20, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            dict(mlp_layer_types="moe"),
            TypeError,
            "mlp_layer_types: got 'moe'; wants None or a list",
        ),
        (
            dict(mlp_layer_types=["moe"] * 2),
            ValueError,
            "mlp_layer_types: got .* wants an entry fo",
        ),
        (
            dict(mlp_layer_types=["dense", "hash", "moe"]),
            ValueError,
            r"mlp_layer_types\[1\]: got 'hash'; wants .dense., .hash_moe. or",
        ),
        (
            dict(mlp_layer_types=["moe"] * 3),
            ValueError,
            r'mlp_layer_types\[0\]: got \'moe\'; .*"den',
        ),
        (
            dict(mlp_layer_types=["dense", "moe", "dense"]),
            ValueError,
            r"mlp_layer_types\[2\]: got 'dense'; .* only there",
        ),
        (
            dict(n_group=4, topk_group=2),
            ValueError,
            'topk_group: got 2; wants 4 with router "gated_hash"',
        ),
    ],
)
def test_wrong_kinds_are_refused_by_name(changes, error, message):
    with pytest.raises(error, match=message):
        config(**changes)


def test_the_configuration_survives_json_and_knows_each_blocks_router():
    mixed = config()
    assert ModelConfig.from_dict(json.loads(json.dumps(mixed.to_dict()))) == mixed
    assert mixed.mlp_layer_types == KINDS and hash(mixed) == hash(config())
    assert mixed.routers == {1: GatedHashRouter, 2: BiasedTopKRouter}
    assert config(mlp_layer_types=None).routers == {1: BiasedTopKRouter, 2: BiasedTopKRouter}
    dense = config(first_k_dense_replace=0, mlp_layer_types=["hash_moe", "moe", "moe"]).dense()
    assert dense.mlp_layer_types is None and not dense.routers
    assert [type(router) for router in routers(make())[1:]] == list(mixed.routers.values())


def test_tables_of_several_blocks_differ():
    model = make(first_k_dense_replace=0, mlp_layer_types=["hash_moe", "hash_moe", "moe"])
    first, second = (routers(model)[layer].table for layer in (0, 1))
    assert not torch.equal(first, second) and first.shape == second.shape == (20, 2)


def test_the_table_chooses_in_its_block_and_nothing_else():
    model = make().eval()
    trace = trace_routing(model, ids())
    by_table, learned = trace.layers
    wanted = routers(model)[1].table[ids()].sort().values
    assert torch.equal(by_table.experts.sort().values, wanted)
    assert not torch.equal(learned.experts.sort().values, routers(model)[1].table[ids()])
    with experts_off(model, {2: [0, 1, 2]}):
        assert trace_routing(model, ids()).layers[1].experts.min() == 3
    with pytest.raises(ValueError, match="off: got 'layer 1'; wants a router with logits"):
        with experts_off(model, {1: [0]}):
            pass
    with pytest.raises(ValueError, match="model: got 'layer 1, GatedHashRouter'"):
        with experts_per_token(model, 3):
            pass


def test_parameters_are_counted_block_by_block():
    model = make(router="topk_softmax", scoring_func="softmax", norm_topk_prob=False)
    count = count_parameters(model.config)
    assert count.total == sum(parameter.numel() for parameter in model.parameters())
    assert count.router == 2 * 8 * 16 + 8, "one of the two has a bias"
    assert count_trainable(RouterOnly(), model.config) == count.router


def test_only_learned_choices_are_balanced():
    changes = dict(aux_loss_alpha=0.5, bias_update_speed=0.1)
    model = make(**changes)
    output = model(ids(), labels=ids())
    alone = total_balance_loss([None, None, output.routing[2]], model.config, n=2)
    assert torch.equal(output.balance_loss, alone) and alone > 0
    before = [buffer.clone() for buffer in model.buffers()]
    history = train(model, RandomBatches(), steps=12, learning_rate=0.02, progress=False).history
    assert history["loss"].iloc[-1] < 0.8 * history["loss"].iloc[0]
    table, bias = routers(model)[1].table, routers(model)[2].selection_bias
    assert torch.equal(table, before[0]) and bias.abs().max() > 0.05
    assert not hasattr(routers(model)[1], "selection_bias")


def test_the_gate_of_the_table_learns():
    model = make()
    before = routers(model)[1].weight.detach().clone()
    train(model, RandomBatches(), steps=3, progress=False)
    assert not torch.equal(before, routers(model)[1].weight)


def test_generates_the_same_with_and_without_a_cache():
    model = make().eval()
    cached = model.generate(ids(), 16)
    assert torch.equal(cached, model.generate(ids(), 16, use_cache=False))
    assert len(cached[:, 12:].unique()) > 2
    alone = list(model.stream(ids(), 4))
    assert torch.equal(torch.stack([token.ids for token in alone], dim=1), cached[:, 12:16])
    wanted = routers(model)[1].table[alone[0].ids].sort().values
    assert torch.equal(alone[0].routing[1].experts.sort().values, wanted)


def test_saved_and_loaded(tmp_path):
    model = make().eval()
    routers(model)[1].table.copy_(routers(model)[1].table.flip(0))
    again, _ = load_checkpoint(save_checkpoint(model, tmp_path))
    assert again.config == model.config and torch.equal(
        routers(again)[1].table, routers(model)[1].table
    )
    with torch.no_grad():
        assert torch.allclose(again(ids()).logits, model(ids()).logits, atol=1e-6)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    whole, halved = make(), make()
    train(whole, RandomBatches(), steps=8, progress=False)
    options = dict(steps=8, folder=tmp_path, save_every=3, progress=False)
    train(halved, RandomBatches(), callback=lambda report: report.row["step"] == 4, **options)
    resumed = make()
    train(resumed, RandomBatches(), **options)
    assert torch.equal(weights_of(resumed), weights_of(whole))
    other = make(mlp_layer_types=["dense", "moe", "moe"])
    with pytest.raises(ValueError, match="mlp_layer_types was .*hash_moe"):
        train(other, RandomBatches(), **options)


def test_upcycling_keeps_the_function():
    torch.manual_seed(0)
    plain = config(
        n_routed_experts=0, n_shared_experts=0, first_k_dense_replace=0, mlp_layer_types=None
    )
    dense = LanguageModel(plain.replace(intermediate_size=8)).eval()
    new = upcycle(
        dense, config(first_k_dense_replace=0, mlp_layer_types=["hash_moe"] + 2 * ["moe"])
    )
    with torch.no_grad():
        assert torch.allclose(new(ids()).logits, dense(ids()).logits, atol=1e-5)
    raw = dict(first_k_dense_replace=0, mlp_layer_types=None, norm_topk_prob=False)
    with pytest.raises(ValueError, match="norm_topk_prob: got False"):
        upcycle(dense, config(**raw))
    kinds = ["hash_moe", "moe", "moe"]
    groups = config(first_k_dense_replace=0, mlp_layer_types=kinds, intermediate_size=16)
    wide = LanguageModel(plain)
    with pytest.raises(ValueError, match="virtual_groups: got .*block 0"):
        upcycle(wide, groups.replace(n_shared_experts=0), virtual_groups=True)


def test_transformers_deepseek_v2_cannot_hold_it(tmp_path):
    latent = dict(attention="mla", kv_lora_rank=6, qk_nope_head_dim=6, qk_rope_head_dim=4)
    model = make(**latent, v_head_dim=5)
    with pytest.raises(
        ValueError, match="mlp_layer_types: got .*hash_moe.*DeepSeek-V2 has no table"
    ):
        save_transformers(model, tmp_path)


def test_explorer_shows_it():
    tokenizer = load_tokenizer()
    explorer = explore(make(vocab_size=len(tokenizer)), tokenizer, "print(3)")
    assert [layer.index for layer in explorer.reading.trace.layers] == [1, 2]
    assert "expert" in explorer.summary


def test_names_of_models_without_kinds_stayed_as_they_were():
    """A fingerprint is in files of learners: a field that came later must not change it."""
    fields = config(mlp_layer_types=None).to_dict()
    assert fields.pop("mlp_layer_types") is None
    model = make(mlp_layer_types=None)
    assert fingerprint(model) != fingerprint(make(mlp_layer_types=["dense", "moe", "moe"]))
    import hashlib

    digest = hashlib.sha256(repr(sorted(fields.items())).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    assert fingerprint(model) == digest.hexdigest()[:16]

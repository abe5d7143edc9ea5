"""The whole model: against transformers' Llama, position by position, with padding, and its
refusals."""

import pytest
import torch
import torch.nn.functional as F

from moe_lib import LanguageModel, ModelConfig
from moe_lib.counting import count_parameters, flops_per_token, kv_cache_elements_per_token
from moe_lib.model import KVCache

SMALL = dict(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=24,
    moe_intermediate_size=8,
    max_position_embeddings=32,
    initializer_range=0.3,
)
EXPERTS = dict(
    n_routed_experts=6, num_experts_per_tok=2, n_shared_experts=1, first_k_dense_replace=1
)


def make(**changes):
    torch.manual_seed(0)
    return LanguageModel(ModelConfig(**{**SMALL, **EXPERTS, **changes})).eval()


def ids(batch=2, length=12):
    return torch.randint(0, 50, (batch, length), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("tied", [True, False])
def test_dense_model_equals_transformers_llama(kv_heads, tied):
    from transformers import LlamaConfig, LlamaForCausalLM

    ours = make(
        n_routed_experts=0,
        n_shared_experts=0,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=tied,
    )
    config = ours.config
    official = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=kv_heads,
            intermediate_size=24,
            rms_norm_eps=config.rms_norm_eps,
            tie_word_embeddings=tied,
            max_position_embeddings=32,
        )
    ).eval()
    # Llama turns number i with number i + d/2, we turn neighbours: the same up to an order within
    # each head
    halves = torch.cat((torch.arange(0, 4, 2), torch.arange(1, 4, 2)))

    def reorder(weight):
        return weight.view(-1, 4, 16)[:, halves].reshape(-1, 16)

    state = {
        "model.embed_tokens.weight": ours.embedding.weight,
        "model.norm.weight": ours.norm.weight,
        "lm_head.weight": ours.head.weight,
    }
    for i, layer in enumerate(ours.layers):
        at = f"model.layers.{i}"
        state[f"{at}.input_layernorm.weight"] = layer.attention_norm.weight
        state[f"{at}.post_attention_layernorm.weight"] = layer.feed_forward_norm.weight
        for name, weight in layer.attention.named_parameters():
            state[f"{at}.self_attn.{name}"] = reorder(weight) if name[0] in "qk" else weight
        for name, weight in layer.feed_forward.named_parameters():
            state[f"{at}.mlp.{name}"] = weight
    official.load_state_dict(state)
    x = ids()
    with torch.no_grad():
        mine, theirs = ours(x, labels=x), official(x, labels=x)
    assert torch.allclose(mine.logits, theirs.logits, atol=2e-5)
    assert mine.loss.item() == pytest.approx(theirs.loss.item(), abs=1e-5)


def test_causal_model_does_not_see_the_future_and_masked_model_does():
    x = ids()
    changed = x.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 50
    for causal in (True, False):
        model = make(causal=causal)
        difference = (model(x).logits - model(changed).logits).abs().amax((0, 2))
        assert difference[7:].min() > 1e-4
        assert (difference[:7].max() < 1e-5) == causal


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(causal, side):
    model, x = make(causal=causal), ids(1, 9)
    padding = torch.zeros(1, 4, dtype=torch.long)
    order = (padding, x) if side == "left" else (x, padding)
    mask = torch.cat(
        [torch.ones_like(part) if part is x else torch.zeros_like(part) for part in order], 1
    )
    padded = model(torch.cat(order, 1), attention_mask=mask)
    assert torch.allclose(padded.logits[mask.bool()], model(x).logits[0], atol=1e-5)
    assert torch.isfinite(padded.logits).all()
    labels = torch.where(mask.bool(), torch.cat(order, 1), -100)
    assert padded.balance_loss.item() == pytest.approx(model(x).balance_loss.item(), rel=1e-5)
    with_loss = model(torch.cat(order, 1), attention_mask=mask, labels=labels)
    if (
        side == "right" or not causal
    ):  # on the left, the first token is predicted from padding as well
        assert with_loss.loss.item() == pytest.approx(model(x, labels=x).loss.item(), rel=1e-5)


def test_loss_is_the_mean_over_labelled_positions_without_the_balance_loss():
    model, x = make(causal=False, aux_loss_alpha=5.0), ids()
    labels = torch.full_like(x, -100)
    labels[0, 3], labels[1, 8] = 7, 11
    output = model(x, labels=labels)
    by_hand = (
        -(output.logits[0, 3].log_softmax(-1)[7] + output.logits[1, 8].log_softmax(-1)[11]) / 2
    )
    assert output.loss.item() == pytest.approx(by_hand.item(), abs=1e-5)
    assert output.balance_loss > 1

    causal = make()
    logits = causal(x).logits
    shifted = F.cross_entropy(logits[:, :-1].reshape(-1, 50), x[:, 1:].reshape(-1))
    assert causal(x, labels=x).loss.item() == pytest.approx(shifted.item(), abs=1e-5)


def test_balance_loss_sums_layers_and_reaches_the_routers():
    model, x = make(aux_loss_alpha=0.5), ids()
    model(x).balance_loss.backward()
    assert model.layers[1].feed_forward.router.weight.grad.abs().max() > 0
    doubled = make(aux_loss_alpha=1.0)
    assert doubled(x).balance_loss.item() == pytest.approx(
        2 * model(x).balance_loss.item(), rel=1e-5
    )
    assert make(aux_loss_alpha=0.0)(x).balance_loss.item() == 0


def test_cached_logits_equal_uncached_position_by_position():
    model, x = make(), ids()
    whole, cache, pieces = model(x).logits, KVCache(), []
    for start, end in ((0, 5), (5, 6), (6, 9), (9, 12)):
        pieces.append(model(x[:, start:end], cache=cache).logits)
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-5)
    assert cache.length == 12
    assert cache.number_of_elements() == 2 * 12 * kv_cache_elements_per_token(model.config)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(num_key_value_heads=2),
        dict(n_routed_experts=0, n_shared_experts=0),
        dict(tie_word_embeddings=False),
    ],
)
def test_counts_equal_the_built_model(changes):
    model = make(**changes)
    count = count_parameters(model.config)
    assert count.total == sum(p.numel() for p in model.parameters())
    if model.config.n_routed_experts:
        unused = 4 * 2 * 3 * 16 * 8  # 4 of 6 experts sleep, in 2 layers, 3 matrices of 16 x 8
        untied = 0 if model.config.tie_word_embeddings else 50 * 16
        assert count.active == count.total - unused - untied


def test_dense_twin_has_equal_active_size_and_flops():
    config = ModelConfig.preset("mini")
    dense = config.dense()
    router = 2 * count_parameters(config).router
    assert dense.n_routed_experts == 0
    assert flops_per_token(config, 128) - flops_per_token(dense, 128) == router


def test_flops_against_torch_counter():
    from torch.utils.flop_counter import FlopCounterMode

    config = ModelConfig(**{**SMALL, "n_routed_experts": 0})
    model = LanguageModel(config)
    with FlopCounterMode(display=False) as counter:
        model(ids(1, 12))
    attention_is_counted_in_full = 12
    assert counter.get_total_flops() == pytest.approx(
        12 * flops_per_token(config, attention_is_counted_in_full), rel=0.2
    )


def test_refusals_name_the_argument():
    model, x = make(), ids()
    cases = [
        (TypeError, "input_ids: got torch.float32", lambda: model(x.float())),
        (ValueError, "input_ids: got 'ids from 0 to 50'", lambda: model(torch.tensor([[0, 50]]))),
        (ValueError, r"input_ids: got \(3,\)", lambda: model(torch.tensor([1, 2, 3]))),
        (
            ValueError,
            "at most max_position_embeddings",
            lambda: model(torch.zeros(1, 33, dtype=torch.long)),
        ),
        (ValueError, "attention_mask: got", lambda: model(x, attention_mask=torch.ones(2, 5))),
        (
            ValueError,
            "labels: got .*-100 at every",
            lambda: model(x, labels=torch.full_like(x, -100)),
        ),
        (ValueError, "labels: got .labels from", lambda: model(x, labels=x + 50)),
        (ValueError, "cache: got", lambda: make(causal=False)(x, cache=KVCache())),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(hidden_size=18), "hidden_size: got 18; wants a multiple"),
        (dict(num_key_value_heads=3), "num_key_value_heads: got 3"),
        (dict(num_experts_per_tok=7), "num_experts_per_tok: got 7"),
        (dict(attention="flash"), "attention: got 'flash'"),
        (dict(scoring_func="relu"), "scoring_func: got 'relu'"),
        (dict(n_routed_experts=0), "n_shared_experts: got 1"),
        (dict(first_k_dense_replace=4), "first_k_dense_replace: got 4"),
        (dict(aux_loss_alpha=-1.0), "aux_loss_alpha: got -1.0"),
    ],
)
def test_bad_configs_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**SMALL, **EXPERTS, **changes})


def test_config_round_trip_and_unknown_fields():
    config = ModelConfig.preset("mini")
    assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="config: got .'depth'."):
        ModelConfig.from_dict({"vocab_size": 5, "depth": 3})
    with pytest.raises(ValueError, match="name: got 'huge'; wants one of mini, mini-v2, tiny"):
        ModelConfig.preset("huge")
    with pytest.raises(TypeError, match="causal: got 1"):
        ModelConfig.preset("mini", causal=1)

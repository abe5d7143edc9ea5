"""Upcycling: an MoE made of a dense model computes what it did, by weights put together here by
hand."""

import pytest
import torch
import torch.nn.functional as F

from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.training.upcycling import upcycle

WIDTH = 48
DENSE = ModelConfig(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=WIDTH,
    max_position_embeddings=32,
    initializer_range=0.3,
)
COPIES = dict(
    n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=WIDTH, norm_topk_prob=True
)
SLICES = dict(
    n_routed_experts=8,
    num_experts_per_tok=2,
    n_shared_experts=1,
    moe_intermediate_size=WIDTH // 3,
    norm_topk_prob=True,
)
LATENT = dict(attention="mla", kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4)
BIASED = dict(router="biased_topk", scoring_func="sigmoid", routed_scaling_factor=2.5)


def dense_model(seed=0, **changes):
    torch.manual_seed(seed)
    return LanguageModel(DENSE.replace(**changes)).eval()


def token_ids():
    return torch.randint(0, 40, (4, 12), generator=torch.Generator().manual_seed(3))


def logits(model):
    with torch.no_grad():
        return model(token_ids()).logits


def largest_error(model, dense):
    expected = logits(dense)
    return float((logits(model) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("common", [{}, LATENT, {"causal": False, "tie_word_embeddings": False}])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        BIASED,
        {"n_shared_experts": 1},
        {"n_shared_experts": 3, **BIASED},
        {"first_k_dense_replace": 1},
        {
            "num_experts_per_tok": 1,
            "router": "hash",
            "norm_topk_prob": False,
            "aux_loss_alpha": 0.0,
        },
        {"router": "topk_softmax", "norm_topk_prob": False},
    ],
)
def test_full_copies_compute_the_dense_logits(common, changes):
    dense = dense_model(**common)
    config = dense.config.replace(**{**COPIES, **changes})
    assert largest_error(upcycle(dense, config, seed=1), dense) < 1e-5


@pytest.mark.parametrize(
    "changes", [{}, BIASED, {"num_experts_per_tok": 4}, {"n_shared_experts": 2}]
)
def test_slices_in_virtual_groups_compute_the_dense_logits(changes):
    dense = dense_model()
    model = upcycle(dense, DENSE.replace(**{**SLICES, **changes}), virtual_groups=True, seed=1)
    assert largest_error(model, dense) < 1e-5
    chosen = torch.cat(
        [layer.experts.flatten() for layer in trace_routing(model, token_ids()).layers]
    )
    assert len(chosen.unique()) == 8  # not the same few experts for all


def test_slices_are_exact_when_all_are_chosen_equally():
    dense = dense_model()
    config = DENSE.replace(
        **{**SLICES, "n_routed_experts": 3, "num_experts_per_tok": 3, "n_shared_experts": 0}
    )
    model = upcycle(dense, config)
    for layer in model.layers:
        torch.nn.init.zeros_(layer.feed_forward.router.weight)
    assert largest_error(model, dense) < 1e-5


def test_slices_without_groups_are_right_on_average_over_routers():
    """One layer, by hand: the mean output over many random routers nears the dense layer's; one
    router does not."""
    dense = dense_model(num_hidden_layers=1)
    config = dense.config.replace(**SLICES, initializer_range=0.01)
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(1))
    feed_forward = dense.layers[0].feed_forward
    with torch.no_grad():
        wanted = feed_forward.down_proj(F.silu(feed_forward.gate_proj(x)) * feed_forward.up_proj(x))
        made = [
            upcycle(dense, config, seed=seed).layers[0].feed_forward(x)[0] for seed in range(200)
        ]
    errors = [
        float((result - wanted).norm() / wanted.norm())
        for result in (made[0], torch.stack(made).mean(0))
    ]
    assert errors[0] > 0.2 and errors[1] < 0.1


def test_each_expert_is_the_slice_it_should_be():
    dense = dense_model()
    model = upcycle(dense, DENSE.replace(**SLICES))
    source, layer = dense.layers[2].feed_forward, model.layers[2].feed_forward
    width = WIDTH // 3
    assert torch.equal(layer.shared.up_proj.weight, source.up_proj.weight[:width])
    for expert in range(8):
        rows = slice(width, 2 * width) if expert % 2 == 0 else slice(2 * width, 3 * width)
        gate, up = layer.experts.gate_up_proj[expert].chunk(2)
        assert torch.equal(gate, source.gate_proj.weight[rows]) and torch.equal(
            up, source.up_proj.weight[rows]
        )
        assert torch.allclose(layer.experts.down_proj[expert], 2 * source.down_proj.weight[:, rows])
    assert torch.equal(
        model.layers[2].attention.q_proj.weight, dense.layers[2].attention.q_proj.weight
    )


@pytest.mark.parametrize("sizes", [COPIES, {**SLICES, **BIASED}])
def test_the_gradient_reaches_everything_and_experts_part(sizes):
    dense = dense_model()
    model = upcycle(dense, DENSE.replace(**sizes)).train()
    # with equal experts the weights do not matter yet: only different slices, or training, give the
    # router a gradient
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(2):
        optimiser.zero_grad()
        model(token_ids(), labels=token_ids()).loss.backward()
        optimiser.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    experts = model.layers[0].feed_forward.experts.down_proj
    assert not torch.allclose(experts[0], experts[2])
    assert torch.equal(
        logits(dense), logits(dense_model())
    )  # the dense model is another: training leaves it alone


def test_noise_parts_the_experts_and_costs_a_little():
    dense = dense_model()
    exact, noisy = (upcycle(dense, DENSE.replace(**COPIES), noise=noise) for noise in (0, 0.1))
    experts = noisy.layers[0].feed_forward.experts.gate_up_proj
    original = exact.layers[0].feed_forward.experts.gate_up_proj
    assert torch.equal(original[0], original[1]) and not torch.equal(experts[0], experts[1])
    assert float(((experts - original).std() / original.std()).detach()) == pytest.approx(
        0.1, rel=0.05
    )
    assert 1e-4 < largest_error(noisy, dense) < 0.5


def test_seeds_and_the_callers_random_numbers():
    dense, config = dense_model(), DENSE.replace(**COPIES)
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one, again, other = (
        upcycle(dense, config, noise=0.1, seed=seed).state_dict() for seed in (0, 0, 1)
    )
    assert torch.equal(torch.rand(1), before)
    assert all(torch.equal(one[name], again[name]) for name in one)
    for name in ("router.weight", "experts.down_proj"):
        assert not torch.equal(
            one[f"layers.0.feed_forward.{name}"], other[f"layers.0.feed_forward.{name}"]
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_topk_prob": False}, "norm_topk_prob"),
        ({"router": "switch", "norm_topk_prob": False, "num_experts_per_tok": 1}, "router"),
        ({"hidden_size": 32}, "hidden_size"),
        ({"causal": False}, "causal"),
        ({"moe_intermediate_size": 20}, "moe_intermediate_size"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"moe_intermediate_size": 24, "n_shared_experts": 2}, "n_shared_experts"),
        ({"n_routed_experts": 2, "moe_intermediate_size": 4}, "n_routed_experts"),
        ({"first_k_dense_replace": 3}, "first_k_dense_replace"),
        ({"routed_scaling_factor": 0.0}, "routed_scaling_factor"),
        ({"first_k_dense_replace": 1, "intermediate_size": 24}, "intermediate_size"),
    ],
)
def test_what_cannot_work_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=f"^{message}: got"):
        upcycle(dense_model(), DENSE.replace(**{**COPIES, **changes}))


def test_other_refusals():
    dense, config = dense_model(), DENSE.replace(**COPIES)
    with pytest.raises(ValueError, match="dense_model: got '6 routed experts'"):
        upcycle(upcycle(dense, config), config)
    with pytest.raises(TypeError, match="dense_model: got Linear"):
        upcycle(torch.nn.Linear(2, 2), config)
    with pytest.raises(ValueError, match="noise: got -1"):
        upcycle(dense, config, noise=-1)
    with pytest.raises(ValueError, match="num_experts_per_tok: got 3; wants a multiple of 2"):
        upcycle(dense, DENSE.replace(**{**SLICES, "num_experts_per_tok": 3}), virtual_groups=True)

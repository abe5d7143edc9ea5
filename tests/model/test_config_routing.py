"""Settings of the routing that do not go together are refused by name; those that do build a model
that runs."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.counting import count_parameters
from moe_lib.model import ROUTERS

COLLAPSE = {"topk", "switch", "gshard", "topk_softmax", "group_limited"}
LEGAL = {
    "topk": dict(norm_topk_prob=True, scoring_func="sigmoid", capacity_factor=1.0),
    "dense": dict(num_experts_per_tok=8),
    "noisy_topk": dict(importance_loss_alpha=0.1, load_loss_alpha=0.1),
    "gshard": dict(capacity_factor=1.0),
    "switch": dict(num_experts_per_tok=1, capacity_factor=1.25),
    "topk_softmax": dict(router_z_loss_alpha=0.001),
    "group_limited": dict(
        n_group=4,
        topk_group=2,
        device_loss_alpha=0.05,
        communication_loss_alpha=0.02,
        capacity_factor=1.0,
        capacity_per="device",
        never_drop_share=0.1,
    ),
    "biased_topk": dict(scoring_func="sigmoid", norm_topk_prob=True, n_group=4, topk_group=2),
    "expert_choice": dict(causal=False),
    "hash": dict(),
    "gated_hash": dict(scoring_func="sqrtsoftplus", norm_topk_prob=True, capacity_factor=1.0),
    "base": dict(num_experts_per_tok=1),
}


def test_every_router_is_covered_here():
    assert set(LEGAL) == set(ROUTERS)


@pytest.mark.parametrize("router", LEGAL)
def test_every_router_trains_in_a_model(router):
    torch.manual_seed(0)
    config = ModelConfig.preset("tiny", vocab_size=40, router=router, **LEGAL[router])
    assert (config.aux_loss_alpha > 0) == (router in COLLAPSE)
    assert (config.bias_update_speed > 0) == (router == "biased_topk")
    model = LanguageModel(config).train()
    assert count_parameters(config).total == sum(p.numel() for p in model.parameters())
    ids = torch.randint(0, 40, (2, 12))
    mask = torch.ones(2, 12)
    mask[0, -3:] = 0
    output = model(ids, attention_mask=mask, labels=ids)
    (output.loss + output.balance_loss).backward()
    experts = model.layers[0].feed_forward.experts
    assert experts.down_proj.grad.abs().max() > 0 and torch.isfinite(output.loss)
    assert ModelConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(router="best"), "router: got 'best'; wants one of"),
        (dict(router="switch"), "num_experts_per_tok: got 2; wants 1 with router"),
        (dict(router="dense"), "num_experts_per_tok: got 2; wants 8 with router"),
        (dict(router="gshard", num_experts_per_tok=3), "num_experts_per_tok: got 3; wants 2"),
        (
            dict(router="expert_choice"),
            "router: got 'expert_choice'; wants another router in a causal model",
        ),
        (
            dict(router="switch", num_experts_per_tok=1, norm_topk_prob=True),
            "norm_topk_prob: got True; wants False",
        ),
        (
            dict(router="gshard", scoring_func="sigmoid"),
            "scoring_func: got 'sigmoid'; wants 'softmax'",
        ),
        (dict(router="group_limited"), "n_group: got 1; wants 2 or more"),
        (dict(n_group=3), "n_group: got 3; wants a divisor of n_routed_experts"),
        (dict(n_group=4, topk_group=2), 'topk_group: got 2; wants 4 with router "topk"'),
        (dict(router="group_limited", n_group=4, topk_group=5), "topk_group: got 5; wants at most"),
        (
            dict(router="group_limited", n_group=4, topk_group=1, num_experts_per_tok=3),
            "num_experts_per_tok: got 3",
        ),
        (
            dict(router="hash", aux_loss_alpha=0.1),
            'aux_loss_alpha: got 0.1; wants 0 with router "hash"',
        ),
        (dict(router="hash", router_z_loss_alpha=0.1), "router_z_loss_alpha: got 0.1; wants 0"),
        (dict(bias_update_speed=0.1), 'bias_update_speed: got 0.1; wants 0 with router "topk"'),
        (dict(load_loss_alpha=0.1), "load_loss_alpha: got 0.1; wants 0"),
        (dict(device_loss_alpha=0.1), "device_loss_alpha: got 0.1; wants 0 when n_group is 1"),
        (dict(capacity_factor=-1.0), "capacity_factor: got -1.0; wants a finite number above 0"),
        (dict(capacity_factor=1.0, capacity_per="device"), "n_group: got 1; wants 2 or more"),
        (dict(capacity_per="layer"), "capacity_per: got 'layer'"),
        (
            dict(router="expert_choice", causal=False, capacity_factor=1.0),
            "capacity_factor: got 1.0; wants None",
        ),
        (dict(never_drop_share=0.1), "never_drop_share: got 0.1; wants 0"),
        (
            dict(aux_loss_alpha=-0.1),
            "aux_loss_alpha: got -0.1; wants a finite number of at least 0",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.preset("tiny", **changes)


def test_a_factor_that_is_no_number_is_a_type_error():
    with pytest.raises(TypeError, match="aux_loss_alpha: got 'much'"):
        ModelConfig.preset("tiny", aux_loss_alpha="much")

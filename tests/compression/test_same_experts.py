"""One text, read in several ways: the same experts, and where not, why."""

import math

import pytest
import torch

from moe_lib.compression import agreement, quantise, read_alone, read_cached, read_whole
from tests.training.small import make_model

IDS = torch.randint(0, 20, (6, 12), generator=torch.Generator().manual_seed(1))
EVEN = ("topk", "biased_topk", "topk_softmax")


@pytest.mark.parametrize("router", EVEN)
@pytest.mark.parametrize("attention", ["mha", "mla"])
def test_training_mode_a_cache_and_a_batch_give_the_same_experts(router, attention):
    more = dict(kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4)
    model = make_model(router=router, attention=attention, **(more if attention == "mla" else {}))
    model.train()
    first = read_whole(model, IDS)
    training = agreement(model, first, read_whole(model, IDS, training=True))
    assert training.change == 0 and training.flipped == 0 and training.proved
    for other in (read_cached(model, IDS), read_alone(model, IDS)):
        found = agreement(model, first, other)
        assert found.tokens == 2 * IDS.numel() and found.flipped == 0 and found.share == 1
        assert found.change < 1e-5 and found.proved
    assert model.training


def test_a_batch_with_padding_gives_the_same_experts():
    model, short = make_model(router="biased_topk").eval(), IDS[:1, :7]
    padded = torch.cat((torch.zeros(1, 5, dtype=torch.long), short), dim=1)
    mask = torch.tensor([[0] * 5 + [1] * 7])
    with torch.no_grad():
        routings = model(
            torch.cat((padded, IDS[1:2])), torch.cat((mask, torch.ones(1, 12).long()))
        ).routing
    for layer, alone in read_whole(model, short).items():
        assert torch.equal(routings[layer].experts[5:12].sort().values, alone.experts.sort().values)


def test_eight_bits_flip_nothing_that_the_margin_protects_and_two_bits_flip_much():
    model = make_model().eval()
    first = read_whole(model, IDS)
    eight, two = (
        agreement(
            model,
            first,
            read_whole(quantise(model, dict.fromkeys(("experts", "router"), b)).model, IDS),
        )
        for b in (8, 2)
    )
    assert eight.flipped <= two.flipped and eight.change < two.change
    assert two.flipped > 0 and not two.proved


def test_a_proof_is_never_wrong():
    model = make_model().eval()
    first = read_whole(model, IDS[:1, :3])
    for seed in range(30):
        torch.manual_seed(seed)
        other = make_model().eval()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter += 10.0 ** -(seed % 5 + 1) * torch.randn_like(parameter)
        found = agreement(model, first, read_whole(other, IDS[:1, :3]))
        assert not found.proved or found.flipped == 0


def test_a_capacity_drops_in_training_alone():
    model = make_model(capacity_factor=0.5)
    found = agreement(model, read_whole(model, IDS), read_whole(model, IDS, training=True))
    assert found.dropped > 0
    assert agreement(model, read_whole(model, IDS), read_cached(model, IDS)).dropped == 0


def test_noise_changes_the_choice_in_training_alone():
    torch.manual_seed(0)
    model = make_model(router="noisy_topk")
    with torch.no_grad():
        for layer in model.layers:
            layer.feed_forward.router.weight.normal_(std=0.05)
    first = read_whole(model, IDS)
    noisy = agreement(model, first, read_whole(model, IDS, training=True))
    assert noisy.flipped > 0 and not noisy.proved
    assert agreement(model, first, read_cached(model, IDS)).flipped == 0


def test_groups_choose_by_more_than_the_affinity_and_have_no_margin():
    model = make_model(router="group_limited", n_group=2, topk_group=1, n_routed_experts=8)
    found = agreement(model, read_whole(model, IDS), read_whole(model, IDS))
    assert math.isnan(found.margin) and not found.proved and found.flipped == 0

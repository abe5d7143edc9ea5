"""ESFT: only the chosen experts move, they move as in full fine-tuning's gradient, and the promises
of every method."""

import pytest
import torch

from moe_lib.files import read_tensors
from moe_lib.tuning import Examples, SequenceClassifier, finetune
from moe_lib.tuning.methods import ESFT, count_trainable, load_adapter, select_experts
from tests.tuning.methods.promises import (
    BASES,
    check_off_copied_and_detached,
    check_saved_and_loaded,
    check_training,
    disturb,
    logits,
    same,
    state,
)
from tests.tuning.small import make_base, random_ids
from tests.tuning.test_finetune import planted

CHOSEN = {1: (2, 0)}  # every base has experts in layer 1; not in order, as by relevance
METHODS = {
    "experts": ESFT(CHOSEN),
    "and the rest of the MoE": ESFT(CHOSEN, train_shared=True, train_router=True),
}
EXPERT = 3 * 16 * 8


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("changes", BASES.values(), ids=BASES)
def test_counts_off_is_the_base_and_detach_restores_it(changes, method):
    check_off_copied_and_detached(method, **changes)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_saved_and_loaded_elsewhere(method, tmp_path):
    loaded = check_saved_and_loaded(method, tmp_path, **BASES["latent"])
    assert loaded.method == method
    tensors, _ = read_tensors(tmp_path / "adapter.safetensors")
    in_experts = {name: tuple(t.shape) for name, t in tensors.items() if ".experts." in name}
    assert in_experts == {
        "layers.1.feed_forward.experts.gate_up": (2, 16, 16),
        "layers.1.feed_forward.experts.down": (2, 16, 8),
    }
    assert (len(tensors) == 2) == (method == METHODS["experts"])


def test_the_other_experts_do_not_move_at_all():
    head = SequenceClassifier(make_base(**BASES["latent"]), 2)
    before = state(head.base)
    run = finetune(
        head,
        Examples(planted(20), 4),
        steps=5,
        learning_rate=1e-2,
        weight_decay=0.5,
        method=ESFT(CHOSEN),
    )
    experts = head.base.layers[1].feed_forward.experts
    for name in ("gate_up_proj", "down_proj"):
        now, then = getattr(experts, name), before[f"layers.1.feed_forward.experts.{name}"]
        for expert in range(4):
            assert torch.equal(now[expert], then[expert]) == (expert not in CHOSEN[1]), (
                name,
                expert,
            )
    assert run.attached.n_trainable == 2 * EXPERT
    assert sum(p.numel() for p in head.base.parameters() if p.requires_grad) == 2 * EXPERT


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_frozen_rest_keeps_its_bits(method):
    changes = {**BASES["latent"], "n_shared_experts": 1}
    frozen = [
        name
        for name in make_base(**changes).state_dict()
        if not (method.train_router and "selection_bias" in name)
    ]
    moved, _ = check_training(method, frozen=frozen, **changes)
    wanted = {"layers.1.feed_forward.router.weight"} if method.train_router else set()
    if method.train_shared:
        wanted |= {
            f"layers.1.feed_forward.shared.{name}_proj.weight" for name in ("gate", "up", "down")
        }
    assert set(moved) == wanted


def test_gradients_are_the_rows_of_the_full_gradient():
    base, ids = make_base(), random_ids(3, 8)
    base(ids).logits.square().mean().backward()
    experts = base.layers[1].feed_forward.experts
    full = experts.gate_up_proj.grad[[2, 0]], experts.down_proj.grad[[2, 0]]
    attached = ESFT(CHOSEN).attach(base)
    base(ids).logits.square().mean().backward()
    for found, wanted in zip(attached.trainable_parameters().values(), full, strict=True):
        torch.testing.assert_close(found.grad, wanted)
        assert wanted.abs().max() > 0


def test_merged_experts_stand_in_the_base_and_come_out_again():
    base = make_base(**BASES["latent"]).eval()
    plain, before = logits(base), state(base)
    attached = METHODS["and the rest of the MoE"].attach(base)
    disturb(attached)
    changed = logits(base)
    attached.merge()
    assert torch.equal(logits(base), changed) and state(base).keys() == before.keys()
    attached.unmerge()
    assert torch.equal(logits(base), changed)
    attached.enabled = False
    assert torch.equal(logits(base), plain)
    attached.enabled = True
    attached.merge()
    experts = base.layers[1].feed_forward.experts
    with torch.no_grad():
        experts.down_proj[2] += 1
        with pytest.raises(
            ValueError, match=r"unmerge: got 'layers.1.feed_forward.experts changed since merge"
        ):
            attached.detach()
        experts.down_proj[2] = attached.wrappers["layers.1.feed_forward.experts"].down[0]
    attached.detach()
    assert same(state(base), before) and torch.equal(logits(base), plain)
    attached = ESFT(CHOSEN).attach(base)
    disturb(attached)
    changed = logits(base)
    assert torch.equal(logits(attached.merge_and_unload()), changed)
    assert all(p.requires_grad for p in base.parameters())


def test_from_the_data_to_the_saved_experts(tmp_path):
    head, batches = SequenceClassifier(make_base(), 2), Examples(planted(20), 4)
    selection = select_experts(head, batches, "token", p=0.4)
    method = ESFT(selection)
    assert dict(method.experts) == selection.experts and method.n_experts == selection.n_chosen
    assert count_trainable(method, head.base.config) == selection.n_chosen * EXPERT
    assert 2 <= selection.n_chosen < 8  # of 4 in each of 2 layers
    run = finetune(head, batches, steps=3, learning_rate=1e-2, method=method)
    wanted = logits(head.base)
    run.attached.save(tmp_path)
    assert load_adapter(tmp_path, make_base().eval()).method == method
    other = make_base().eval()
    load_adapter(tmp_path, other)
    assert torch.equal(logits(other), wanted)
    assert hash(method) == hash(ESFT(selection.experts))


def test_bad_selections_are_refused():
    base = make_base(first_k_dense_replace=1)
    for experts, message in (
        ({}, "experts: got {}"),
        ({1: ()}, "experts: got"),
        ({1: (2, 2)}, r"experts\[1\]: got"),
    ):
        with pytest.raises(ValueError, match=message):
            ESFT(experts)
    for experts, message in (
        ({0: (1,)}, "experts: got 'experts of layer 0'; wants MoE layers"),
        ({2: (1,)}, "experts: got 'experts of layer 2'"),
        ({1: (4,)}, r"experts\[1\]: got \(4,\)"),
        ({1: (-1,)}, r"experts\[1\]: got \(-1,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            ESFT(experts).attach(base)
        with pytest.raises(ValueError, match=message):
            count_trainable(ESFT(experts), base.config)
    assert all(p.requires_grad for p in base.parameters())

"""FGM, PGD and attacks against autograd by hand, and against random perturbations of the same
norm."""

import pytest
import torch

from moe_lib.tuning import Examples, SequenceClassifier, finetune
from moe_lib.tuning.impact import expert_choices, routing_change
from moe_lib.tuning.robust import (
    FGM,
    PGD,
    attack,
    attack_curve,
    embedding_norms,
    perturbed,
    worst_perturbation,
)
from moe_lib.tuning.robust.perturbing import into_ball, random_direction, to_norm
from tests.tuning.small import make_base
from tests.tuning.test_finetune import planted


def head_and_batch(n=5, **changes):
    head = SequenceClassifier(make_base(**changes), 2)
    return head, Examples(planted(n), n).at(0)


def embedded(head, batch, e):
    """The head's loss with e (batch, sequence, d) in place of what the embedding gives."""
    plain = head.base.embedding.forward
    head.base.embedding.forward = lambda ids: e
    try:
        return head(**batch).loss
    finally:
        head.base.embedding.forward = plain


def gradients(head):
    return {name: p.grad.clone() for name, p in head.named_parameters() if p.grad is not None}


def test_fgm_is_the_loss_plus_the_loss_at_e_plus_epsilon_g_over_norm_of_g():
    head, batch = head_and_batch()
    e = head.base.embedding.weight[batch["input_ids"]].detach().requires_grad_()
    clean = embedded(head, batch, e)
    (g,) = torch.autograd.grad(clean, e)
    g = g * batch["attention_mask"][..., None]
    r = torch.stack([0.7 * row / row.norm() for row in g])  # one norm per text, over all its tokens
    with perturbed(head, r):
        there = head(**batch).loss
    assert there > clean  # uphill
    found = FGM(0.7, weight=0.5)(head, batch, {})
    torch.testing.assert_close(found.loss, clean + 0.5 * there)
    head.zero_grad()
    found.loss.backward()
    ours = gradients(head)
    head.zero_grad()
    with perturbed(head, r):
        (0.5 * head(**batch).loss).backward()
    head(**batch).loss.backward()
    for name, gradient in gradients(head).items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-6, rtol=1e-4)
    assert ours["base.embedding.weight"].abs().sum() > 0


def test_pgd_by_hand_and_with_one_full_step_it_is_fgm():
    head, batch = head_and_batch()
    torch.testing.assert_close(
        PGD(0.7, steps=1, step_size=0.7)(head, batch, {}).loss, FGM(0.7)(head, batch, {}).loss
    )
    table, delta = head.base.embedding.weight.detach()[batch["input_ids"]], 0
    for _ in range(3):
        e = (table + delta).requires_grad_()
        (g,) = torch.autograd.grad(embedded(head, batch, e), e)
        g = g * batch["attention_mask"][..., None]
        delta = delta + torch.stack([0.4 * row / row.norm() for row in g])
        delta = torch.stack([row if row.norm() <= 0.6 else 0.6 * row / row.norm() for row in delta])
    torch.testing.assert_close(
        worst_perturbation(head, batch, 0.6, 3, 0.4), delta, atol=1e-5, rtol=1e-4
    )


def test_the_worst_perturbation_raises_the_loss_more_than_a_random_one_of_its_norm():
    head, batch = head_and_batch()
    losses = {}
    for name, delta in (
        ("worst", worst_perturbation(head, batch, 0.5, 8)),
        ("random", random_direction(torch.zeros(*batch["input_ids"].shape, 16), batch, 0.5, 3)),
        ("none", torch.zeros(*batch["input_ids"].shape, 16)),
    ):
        with perturbed(head, delta), torch.no_grad():
            losses[name] = float(head(**batch).loss)
        norms = delta.flatten(1).norm(dim=1)
        assert (norms <= 0.5 + 1e-5).all() and (name == "none" or (norms > 0.3).all())
    assert losses["worst"] > losses["none"] + 0.05 and losses["worst"] > losses["random"] + 0.05


@pytest.mark.parametrize("objective", [FGM(1.0), PGD(1.0, steps=2)])
def test_the_embeddings_are_restored_exactly_and_padding_is_never_touched(objective, monkeypatch):
    head, batch = head_and_batch()
    before = head.base.embedding.weight.detach().clone()
    plain = head(**batch).logits
    objective(head, batch, {})
    assert torch.equal(head.base.embedding.weight, before) and torch.equal(
        head(**batch).logits, plain
    )
    assert not head.base.embedding._forward_hooks and head.classifier.weight.grad is None
    delta = worst_perturbation(head, batch, 1.0, 2)
    padding = batch["attention_mask"] == 0
    assert padding.any() and (delta[padding] == 0).all() and (delta[~padding] != 0).any()
    with pytest.raises(ValueError, match="delta: got"), perturbed(head, delta[:, :2]):
        head(**batch)
    assert torch.equal(head(**batch).logits, plain)  # taken out after an error too


def test_a_text_is_perturbed_alike_in_any_company():
    """A mean over the batch makes gradients smaller, but not their directions."""
    head, batch = head_and_batch()
    whole = worst_perturbation(head, batch, 0.5, 2)
    for row in range(5):
        alone = {name: part[row : row + 1] for name, part in batch.items()}
        torch.testing.assert_close(
            worst_perturbation(head, alone, 0.5, 2)[0], whole[row], atol=2e-4, rtol=1e-2
        )


def test_projection_and_norm_by_hand():
    delta = torch.tensor(
        [[[3.0, 0.0], [0.0, 4.0]], [[0.3, 0.0], [0.0, 0.4]], [[0.0, 0.0], [0.0, 0.0]]]
    )
    assert into_ball(delta, 1.0)[0].tolist() == [
        [pytest.approx(0.6), 0],
        [0, pytest.approx(0.8)],
    ]  # norm 5
    assert torch.equal(into_ball(delta, 1.0)[1:], delta[1:])
    assert to_norm(delta, 2.0)[1].tolist() == [[pytest.approx(1.2), 0], [0, pytest.approx(1.6)]]
    assert torch.equal(to_norm(delta, 2.0)[2], delta[2])  # no gradient, no direction, and no nan


def test_attacks_count_flips_as_the_comparison_does_and_have_a_control():
    head, batch = head_and_batch(12)
    finetune(head, Examples(planted(40), 8), steps=30, learning_rate=1e-2)
    head.train()
    none = attack(head, batch, 0.0)
    assert (
        none.accuracy == float(none.right_before.float().mean())
        and none.flips == 0
        and head.training
    )
    worst, random = attack(head, batch, 2.0, 4), attack(head, batch, 2.0, random=True)
    assert worst.accuracy < none.accuracy and worst.accuracy <= random.accuracy
    assert 0 < worst.flips <= 1
    head.eval()
    old = expert_choices(head.base, batch["input_ids"], batch["attention_mask"])
    with perturbed(head, worst.delta):
        new = expert_choices(head.base, batch["input_ids"], batch["attention_mask"])
    assert worst.flips == pytest.approx(routing_change(old, new))
    assert all(p.grad is None for p in head.parameters())
    same = attack(head, batch, 2.0, random=True)
    assert torch.equal(same.delta, random.delta) and not torch.equal(
        attack(head, batch, 2.0, random=True, seed=1).delta, random.delta
    )


def test_a_curve_adds_counts_not_means_of_batches():
    head, rows = SequenceClassifier(make_base(), 2), planted(7)
    curve = attack_curve(head, Examples(rows, 5), (0.0, 1.0), 2)
    whole = attack_curve(head, Examples(rows, 7), (0.0, 1.0), 2)
    worst = curve[curve["kind"] == "worst"]["accuracy"].tolist()
    assert worst == pytest.approx(whole[whole["kind"] == "worst"]["accuracy"].tolist())
    assert all(
        (value * 7) == pytest.approx(round(value * 7)) for value in worst
    )  # sevenths: a mean of means is not
    dense = SequenceClassifier(make_base(n_routed_experts=0, n_shared_experts=0), 2)
    assert attack_curve(dense, Examples(rows, 7), (1.0,), 1)["flips"].isna().all()


def test_finetune_trains_by_the_objective_and_measures_without_it():
    rows = planted(8)
    history = {}
    for name, objective in (
        ("plain", None),
        ("fgm", FGM(0.5)),
        ("twice", lambda m, b, o: m(**b, **o)),
    ):
        head = SequenceClassifier(make_base(), 2)
        run = finetune(
            head, Examples(rows, 8), steps=2, objective=objective, validation=Examples(rows, 8)
        )
        history[name] = run.history
    assert history["plain"]["loss"].tolist() == history["twice"]["loss"].tolist()
    assert (
        history["fgm"]["loss"][0] > 2 * history["plain"]["loss"][0]
    )  # the adversarial loss is on top
    assert (
        history["fgm"]["validation_loss"].iloc[-1]
        < 1.5 * history["plain"]["validation_loss"].iloc[-1]
    )
    parts = finetune(
        SequenceClassifier(make_base(), 2),
        Examples(rows, 8),
        steps=2,
        objective=FGM(0.5),
        accumulation=3,
    )
    assert parts.history["loss"].tolist() == pytest.approx(
        history["fgm"]["loss"].tolist(), abs=1e-4
    )
    with pytest.raises(TypeError, match="objective: got 3"):
        finetune(SequenceClassifier(make_base(), 2), Examples(rows, 8), steps=1, objective=3)


def test_a_radius_is_read_beside_the_norm_of_the_text():
    head, batch = head_and_batch(3)
    norms = embedding_norms(head, batch)
    for row, (ids, mask) in enumerate(
        zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ):
        assert float(norms[row]) == pytest.approx(
            float(head.base.embedding.weight.detach()[ids[mask.bool()]].norm()), rel=1e-5
        )


def test_bad_settings_are_named():
    head, batch = head_and_batch()
    for make, message in (
        (lambda: FGM(0.0), "epsilon: got 0.0"),
        (lambda: PGD(1.0, weight=0), "weight: got 0"),
        (lambda: PGD(1.0, step_size=-1.0), "step_size: got -1.0"),
        (lambda: attack(head, batch, -1.0), "radius: got -1.0"),
        (lambda: attack(head, {"input_ids": batch["input_ids"]}, 1.0), "batch: got"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="steps: got 1.5"):
        PGD(1.0, steps=1.5)
    with pytest.raises(TypeError, match="head: got an object of type LanguageModel"):
        attack(head.base, batch, 1.0)

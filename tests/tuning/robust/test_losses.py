"""Consistency, R-Drop, InfoNCE and expert dropout against torch's own losses, hand-worked numbers
and a plain loop."""

import math

import pytest
import torch
import torch.nn.functional as F

from moe_lib.model.experts import run_loop
from moe_lib.tuning import Encoded, Examples, SequenceClassifier, finetune
from moe_lib.tuning.robust import (
    Consistency,
    ConsistencyBatches,
    ExpertDropout,
    RDrop,
    SimCSE,
    info_nce,
    kl_divergence,
)
from moe_lib.tuning.robust.expert_dropout import run_with_dropout
from tests.tuning.small import make_base, padded, random_ids
from tests.tuning.test_finetune import planted


def test_kl_divergence_is_torchs_and_by_hand():
    target, logits = torch.randn(6, 4), torch.randn(6, 4)
    wanted = F.kl_div(logits.log_softmax(-1), target.softmax(-1), reduction="none").sum(-1)
    torch.testing.assert_close(kl_divergence(target, logits), wanted)
    half, quarter = torch.tensor([[1.0, 1.0]]).log(), torch.tensor([[1.0, 3.0]]).log()
    assert float(kl_divergence(half, quarter)) == pytest.approx(
        0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-6
    )


def test_consistency_is_the_labelled_loss_plus_the_mean_kl_with_a_fixed_target():
    head = SequenceClassifier(make_base(), 2)
    rows, other = planted(8), planted(8, seed=5)
    batches = ConsistencyBatches(Examples(rows, 4), rows, other)
    batch = batches.at(1)
    # Rows stay pairs: plain row i and augmented row i have the same place in their lists.
    for plain, mask, changed, changed_mask in zip(
        *(batch[f"{a}_{b}"] for a in ("plain", "augmented") for b in ("ids", "mask")), strict=True
    ):
        index = [row["input_ids"] for row in rows.rows].index(plain[mask.bool()].tolist())
        assert other.rows[index]["input_ids"] == changed[changed_mask.bool()].tolist()
    p = head(batch["plain_ids"], batch["plain_mask"]).logits.detach()
    q = head(batch["augmented_ids"], batch["augmented_mask"]).logits
    labelled = head(batch["input_ids"], batch["attention_mask"], batch["labels"]).loss
    apart = F.kl_div(q.log_softmax(-1), p.softmax(-1), reduction="none").sum(-1)
    wanted = labelled + 2.0 * apart.mean()
    found = Consistency(2.0)(head, batch, {})
    torch.testing.assert_close(found.loss, wanted)
    ours = torch.autograd.grad(found.loss, head.classifier.weight)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(wanted, head.classifier.weight)[0])
    sure = p.softmax(-1).amax(-1)
    threshold = float(sure.sort().values[1:3].mean())  # between the second and the third of four
    part = Consistency(2.0, threshold)(head, batch, {})
    torch.testing.assert_close(part.loss, labelled + 2.0 * (apart * (sure >= threshold)).sum() / 4)


def test_consistency_trains_and_parts_count_alike():
    rows = planted(8)
    batches = ConsistencyBatches(Examples(rows, 8), rows, planted(8, seed=5))
    one, parts = (
        finetune(
            SequenceClassifier(make_base(), 2),
            batches,
            steps=2,
            objective=Consistency(),
            accumulation=n,
        ).history
        for n in (1, 3)
    )
    assert parts["loss"].tolist() == pytest.approx(one["loss"].tolist(), abs=1e-4)
    assert "augmented_ids" in batches.at(0) and len(batches) == 1
    with pytest.raises(
        ValueError, match="augmented: got '7 rows'; wants as many as unlabelled .8."
    ):
        ConsistencyBatches(Examples(rows, 8), rows, planted(7))
    with pytest.raises(ValueError, match="unlabelled: got '4 rows'"):
        ConsistencyBatches(Examples(rows, 8), planted(4), planted(4))
    with pytest.raises(ValueError, match="batch: got .* wants a batch of ConsistencyBatches"):
        Consistency()(SequenceClassifier(make_base(), 2), Examples(rows, 8).at(0), {})


def test_rdrop_is_zero_apart_without_dropout_and_symmetric_with():
    batch = Examples(planted(6), 6).at(0)
    head = SequenceClassifier(make_base(), 2)
    torch.testing.assert_close(RDrop(5.0)(head, batch, {}).loss, head(**batch).loss)
    head = SequenceClassifier(make_base(), 2, dropout=0.5).train()
    torch.manual_seed(3)
    found = RDrop(5.0)(head, batch, {}).loss
    torch.manual_seed(3)
    one, other = head(**batch), head(**batch)
    a, b = one.logits.log_softmax(-1), other.logits.log_softmax(-1)
    apart = ((a.exp() - b.exp()) * (a - b)).sum(
        -1
    ).mean() / 2  # KL(p‖q) + KL(q‖p) = Σ (p − q)(log p − log q)
    torch.testing.assert_close(found, (one.loss + other.loss) / 2 + 5.0 * apart)
    assert apart > 1e-4


def test_info_nce_by_hand_and_by_a_naive_loop():
    one, other = torch.eye(2), torch.tensor([[2.0, 0.0], [3.0, 3.0]])  # cosines 1 and √½; 0 and √½
    c = math.sqrt(0.5)
    rows = [math.log(math.exp(1) + math.exp(c)) - 1, math.log(math.exp(0) + math.exp(c)) - c]
    assert float(info_nce(one, other, 1.0)) == pytest.approx(sum(rows) / 2, abs=1e-6)
    a, b, total = torch.randn(5, 8), torch.randn(5, 8), 0.0
    for i in range(5):
        similar = [float(F.cosine_similarity(a[i], b[j], dim=0)) / 0.1 for j in range(5)]
        total += math.log(sum(math.exp(s) for s in similar)) - similar[i]
    assert float(info_nce(a, b, 0.1)) == pytest.approx(total / 5, abs=1e-4)
    same = torch.ones(6, 3)
    assert float(info_nce(same, same)) == pytest.approx(math.log(6), abs=1e-5)  # nothing told apart
    with pytest.raises(ValueError, match="one: got '1 rows'; wants at least two"):
        info_nce(a[:1], b[:1])
    with pytest.raises(ValueError, match="other: got .4, 8."):
        info_nce(a, b[:4])


def test_contrastive_pretraining_learns_without_labels_and_padding_is_no_clue():
    rows = Encoded([{"input_ids": row["input_ids"]} for row in planted(32).rows], 0)
    base = make_base()
    dropout = ExpertDropout(0.2, 0.2).attach(base)
    run = finetune(
        base, Examples(rows, 16), steps=30, objective=SimCSE(0.1), learning_rate=5e-3, balance=False
    )
    dropout.detach()
    assert run.history["loss"][:5].mean() > run.history["loss"][-5:].mean() + 0.1
    batch = {"input_ids": random_ids(4, 6)}
    plain = SimCSE()(base, batch, {}).loss
    more, mask = padded(batch["input_ids"], 3, "right")
    torch.testing.assert_close(
        SimCSE()(base, {"input_ids": more, "attention_mask": mask}, {}).loss, plain
    )
    pairs = ConsistencyBatches(Examples(planted(8), 8), planted(8), planted(8, seed=5)).at(0)
    two = [
        SequenceClassifier(base, 2).base.hidden_states(pairs[f"{n}_ids"], pairs[f"{n}_mask"])[0]
        for n in ("plain", "augmented")
    ]
    means = [
        (h * pairs[f"{n}_mask"][..., None]).sum(1) / pairs[f"{n}_mask"].sum(1, keepdim=True)
        for h, n in zip(two, ("plain", "augmented"), strict=True)
    ]
    torch.testing.assert_close(SimCSE()(base, pairs, {}).loss, info_nce(*means))


def test_expert_dropout_is_off_at_eval_and_leaves_nothing_behind():
    base, ids = make_base(), random_ids(3, 7)
    base.eval()
    plain, names = base(ids).logits, set(base.state_dict())
    attached = ExpertDropout(0.5, 0.2).attach(base)
    assert torch.equal(base(ids).logits, plain) and set(base.state_dict()) == names
    base.train()
    assert not torch.equal(base(ids).logits, base(ids).logits)
    with pytest.raises(ValueError, match="model: got 'experts with dropout'"):
        ExpertDropout().attach(base)
    attached.detach()
    attached.detach()
    assert torch.equal(base(ids).logits, plain)
    assert not any(
        "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks
        for module in base.modules()
    )


def test_expert_dropout_acts_on_the_inner_numbers_of_each_pair():
    torch.manual_seed(0)
    layer, x = make_base().layers[0].feed_forward, torch.randn(9, 16)
    routing = layer.router(x)
    gate_up, down = layer.experts.gate_up_proj.detach(), layer.experts.down_proj.detach()
    plain = run_loop(x, routing, gate_up, down)
    torch.testing.assert_close(
        run_with_dropout(x, routing, gate_up, down, 0.0), plain, atol=1e-5, rtol=1e-4
    )
    draws = torch.stack([run_with_dropout(x, routing, gate_up, down, 0.4) for _ in range(4000)])
    error = draws.std(0) / math.sqrt(4000)
    assert (
        (draws.mean(0) - plain).abs() < 5 * error + 1e-6
    ).all()  # unbiased: scaled by 1 / (1 − rate)
    # Variance of Σ_j m_j w_j h_j with m_j 0 or 1 / (1 − p): p / (1 − p) · Σ_j (w_j h_j)², pair by
    # pair
    wanted = torch.zeros(9, 16)
    for token in range(9):
        for expert, weight in zip(routing.experts[token], routing.weights[token], strict=True):
            gate, up = (gate_up[expert] @ x[token]).chunk(2)
            wanted[token] += (
                ((F.silu(gate) * up * weight) ** 2 * down[expert] ** 2).sum(-1).detach() * 0.4 / 0.6
            )
    torch.testing.assert_close(draws.var(0), wanted, atol=1e-4, rtol=0.2)


def test_rates_act_where_they_belong():
    base, ids = make_base(), random_ids(3, 7)
    for rates, differs in (((0.5, 0.0), True), ((0.0, 0.5), True), ((0.0, 0.0), False)):
        attached = ExpertDropout(*rates).attach(base.train())
        assert torch.equal(base(ids).logits, base(ids).logits) != differs
        attached.detach()
    dense = make_base(n_routed_experts=0, n_shared_experts=0).train()
    attached = ExpertDropout(0.5, 0.0).attach(dense)
    assert torch.equal(dense(ids).logits, dense(ids).logits)  # no experts, nothing dropped
    attached.detach()
    head = SequenceClassifier(make_base(), 2)
    run = finetune(head, Examples(planted(8), 4), steps=2, method=ExpertDropout(0.4, 0.1))
    assert (
        run.attached.settings.experts == 0.4
        and "base.embedding.weight" not in run.attached.trainable_parameters()
    )
    for make, message in (
        (lambda: ExpertDropout(1.0), "experts: got 1.0"),
        (lambda: RDrop(-1.0), "weight: got -1.0"),
        (lambda: Consistency(1.0, 1.0), "threshold: got 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()

"""AdaLoRA's rules against hand-worked numbers: budget, importance, which triplets stay."""

import pytest
import torch

from moe_lib.tuning import Examples, SequenceClassifier, finetune
from moe_lib.tuning.methods import AdaLoRA, attached_to, count_trainable, load_adapter
from moe_lib.tuning.methods.adalora import Importance
from tests.tuning.methods.promises import (
    BASES,
    CAUSAL_MLA,
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


def test_the_budget_falls_from_all_to_the_target_along_a_cube():
    """2 matrices, ranks 12 -> 4, steps 2 to 8 of 12 fall: left of the way 1 - (t - 2) / 6."""
    method = AdaLoRA(init_rank=12, target_rank=4, tinit=2, tfinal=4)
    found = [method.budget(step, 12, 2) for step in range(12)]
    assert found[:3] == [24, 24, 24] and found[8:] == [8, 8, 8, 8]
    assert found[5] == 10  # half of the way is left: 8 + 16 / 8
    assert found[3] == int(8 + 16 * (5 / 6) ** 3) and sorted(found, reverse=True) == found


def test_importance_is_the_smoothed_sensitivity_times_its_uncertainty():
    parameter = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
    importance = Importance(parameter, beta1=0.5, beta2=0.8)
    parameter.grad = torch.tensor([3.0, 0.0])  # I = 6: Ī = 3, Ū = 0.2 · 3 = 0.6
    importance.see()
    torch.testing.assert_close(importance.score, torch.tensor([1.8, 0.0]))
    parameter.grad = torch.tensor(
        [-0.5, 1.0]
    )  # I = 1: Ī = 2, Ū = 0.48 + 0.2 · 1 = 0.68.  I = 1: Ī = .5, Ū = .1
    importance.see()
    torch.testing.assert_close(importance.score, torch.tensor([1.36, 0.05]))


def attach(**changes):
    base = make_base(**CAUSAL_MLA, initializer_range=0.1).eval()
    settings = dict(
        init_rank=3,
        target_rank=2,
        tinit=1,
        tfinal=2,
        deltaT=2,
        alpha=6,
        targets=("layers.*.q_proj",),
    )
    return base, AdaLoRA(**{**settings, **changes}).attach(base)


def test_output_is_that_of_the_decomposition():
    base, attached = attach()
    disturb(attached)
    wrapped, x = base.layers[0].attention.q_proj, torch.randn(4, 16)
    weight = wrapped.base.weight + 6 / 3 * wrapped.P @ torch.diag(wrapped.Lambda) @ wrapped.Q
    torch.testing.assert_close(wrapped(x), x @ weight.T, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(wrapped.weight, weight)
    P, Q = wrapped.P, wrapped.Q
    away = (P.T @ P - torch.eye(3)).pow(2).sum().sqrt() + (Q @ Q.T - torch.eye(3)).pow(
        2
    ).sum().sqrt()
    torch.testing.assert_close(wrapped.orthogonality(), away)


def test_the_triplets_with_the_highest_scores_stay_over_all_matrices():
    """Six triplets, four stay. The score is the one of λ plus the means over a column of P and a
    row of Q."""
    base, attached = attach()
    disturb(attached)
    planted_scores = {
        "layers.0.attention.q_proj": [5.0, 4.0, 3.0],
        "layers.1.attention.q_proj": [9.0, 0.5, 2.0],
    }
    for path, (left, value, right) in attached.importance.items():
        for entry, share in ((left, 0.25), (value, 0.5), (right, 0.25)):
            score = torch.tensor(planted_scores[path]) * share
            spread = torch.rand_like(entry.smoothed) + 0.1
            if entry is left:
                entry.smoothed = score * spread / spread.mean(0)
            elif entry is right:
                entry.smoothed = score[:, None] * spread / spread.mean(1, keepdim=True)
            else:
                entry.smoothed = score
            entry.uncertainty = torch.ones_like(entry.smoothed)
    for path, scores in attached.scores().items():
        torch.testing.assert_close(scores, torch.tensor(planted_scores[path]))
    attached.after_step(step=8, steps=10)  # the last cut: 10 - tfinal
    assert attached.ranks() == {"layers.0.attention.q_proj": 3, "layers.1.attention.q_proj": 1}
    kept = base.layers[1].attention.q_proj.Lambda != 0
    assert kept.tolist() == [True, False, False]


def test_equal_scores_keep_exactly_the_budget():
    """Before the first gradients all scores are 0. A threshold ("drop what is not above it") would
    drop everything."""
    _, attached = attach()
    attached.after_step(step=8, steps=10)
    assert sum(attached.ranks().values()) == 4


def test_a_run_ends_with_the_target_and_what_was_dropped_stays_zero(tmp_path):
    head = SequenceClassifier(make_base(**CAUSAL_MLA, initializer_range=0.1), 2)
    method = AdaLoRA(
        init_rank=4, target_rank=2, tinit=3, tfinal=5, deltaT=2, targets=("attention",)
    )
    totals = []
    run = finetune(
        head,
        Examples(planted(60), 6),
        steps=20,
        learning_rate=1e-2,
        method=method,
        callback=lambda row: totals.append(sum(attached_to(head.base).ranks().values())),
    )
    n = len(run.attached.wrappers)
    cut_at = [step for step in range(1, 20) if totals[step] != totals[step - 1]]
    assert (
        set(cut_at) <= {4, 6, 8, 10, 12, 14, 15}
        and totals[0] == 4 * n
        and totals[15:] == [2 * n] * 5
    )
    for wrapper in run.attached.wrappers.values():
        assert torch.equal(wrapper.Lambda != 0, wrapper.kept)

    ids = random_ids(2, 9)
    expected = logits(head.base, ids)
    run.attached.save(tmp_path)
    ranks = run.attached.ranks()
    run.attached.merge()
    torch.testing.assert_close(logits(head.base, ids), expected, atol=1e-5, rtol=1e-5)
    run.attached.detach()
    loaded = load_adapter(tmp_path, head.base)
    assert torch.equal(logits(head.base, ids), expected) and loaded.ranks() == ranks


def test_orthogonality_pulls_p_and_q_towards_orthogonal_rows():
    away = {}
    for weight in (0.0, 1.0):
        head = SequenceClassifier(make_base(initializer_range=0.1), 2)
        method = AdaLoRA(init_rank=3, target_rank=3, tinit=1, tfinal=1, orth_reg=weight)
        run = finetune(
            head,
            Examples(planted(60), 6),
            steps=40,
            learning_rate=3e-2,
            weight_decay=0,
            method=method,
        )
        away[weight] = sum(
            float(wrapper.orthogonality().detach()) for wrapper in run.attached.wrappers.values()
        )
    assert away[1.0] < 0.7 * away[0.0]


def test_off_is_the_base_bit_for_bit_and_counts_are_the_formula():
    base, attached = attach()
    ids = random_ids(2, 9)
    fresh = logits(base, ids)
    disturb(attached)
    attached.enabled = False
    assert torch.equal(
        logits(base, ids), fresh
    )  # Λ = 0 at the start: the fresh one is the base as well
    rows, columns = base.layers[0].attention.q_proj.base.weight.shape
    assert (
        attached.n_trainable
        == count_trainable(attached.method, base.config)
        == 2 * 3 * (rows + columns + 1)
    )


PROMISED = AdaLoRA(init_rank=3, target_rank=2, tinit=1, tfinal=2, deltaT=1)


@pytest.mark.parametrize("changes", BASES.values(), ids=BASES)
def test_off_is_the_base_and_detach_restores_it(changes):
    check_off_copied_and_detached(PROMISED, **changes)


@pytest.mark.parametrize(
    "changes", [BASES["causal, grouped"], BASES["latent"]], ids=["grouped", "latent"]
)
def test_saved_and_loaded_on_the_same_base_only(changes, tmp_path):
    check_saved_and_loaded(PROMISED, tmp_path, **changes)


def test_training_moves_not_one_bit_of_the_base():
    moved, run = check_training(PROMISED, **BASES["latent"])
    assert moved == [] and len(run.history) == 5


def test_merged_and_unmerged_the_base_keeps_its_bits():
    base = make_base(**CAUSAL_MLA).eval()
    before = state(base)
    attached = PROMISED.attach(base)
    disturb(attached)
    wanted = logits(base)
    attached.merge()
    assert state(base).keys() == before.keys()  # a plain model again
    torch.testing.assert_close(logits(base), wanted, atol=1e-5, rtol=1e-5)
    attached.unmerge()
    assert torch.equal(logits(base), wanted)
    attached.detach()
    assert same(state(base), before)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(target_rank=13), "target_rank"),
        (dict(beta1=1.0), "beta1"),
        (dict(tfinal=0), "tfinal"),
        (dict(targets=("experts",)), "routed experts"),
        (dict(orth_reg=-1), "orth_reg"),
        (dict(deltaT=0), "deltaT"),
    ],
)
def test_bad_settings_are_named(wrong, words):
    with pytest.raises(ValueError, match=words):
        AdaLoRA(**wrong)


def test_a_run_too_short_for_its_schedule_is_refused():
    head = SequenceClassifier(make_base(), 2)
    with pytest.raises(ValueError, match="tinit"):
        finetune(head, Examples(planted(20), 10), steps=30, method=AdaLoRA(tinit=10, tfinal=20))

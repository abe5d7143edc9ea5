"""Temperature against a grid and a known answer, coverage by hand, AUROC by counting pairs."""

import numpy as np
import pytest
import torch

from moe_lib.tuning import Examples, SequenceClassifier, expected_calibration_error
from moe_lib.tuning.robust import (
    auroc,
    class_logits,
    coverage_curve,
    energy_score,
    fit_temperature,
    max_probability,
)
from tests.tuning.small import make_base
from tests.tuning.test_finetune import planted


def drawn(n=4000, sharpen=3.0, seed=0):
    """Targets drawn from true probabilities, and probabilities that are too sure by a factor of the
    logits."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, 4))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = np.array([generator.choice(4, p=p) for p in true])
    sharp = np.exp(sharpen * logits)
    return sharp / sharp.sum(1, keepdims=True), targets


def test_a_model_three_times_too_sure_gets_a_temperature_of_three():
    probabilities, targets = drawn()
    found = fit_temperature(probabilities, targets)
    assert found.value == pytest.approx(3.0, rel=0.1)
    rows, log = np.arange(len(targets)), np.log(probabilities)

    def loss(t):
        return -torch.tensor(log / t).log_softmax(-1).numpy()[rows, targets].mean()

    grid = np.geomspace(0.5, 8, 400)
    losses = [loss(t) for t in grid]
    assert found.value == pytest.approx(grid[int(np.argmin(losses))], rel=0.01)
    assert found.loss_after <= min(losses) + 1e-9 and found.loss_before == pytest.approx(loss(1.0))
    scaled = found(probabilities)
    assert (scaled.argmax(1) == probabilities.argmax(1)).all() and np.allclose(scaled.sum(1), 1)
    before, after = (expected_calibration_error(p, targets) for p in (probabilities, scaled))
    assert before > 0.1 and after < before / 3
    assert fit_temperature(torch.tensor(scaled), targets).value == pytest.approx(1.0, abs=1e-3)


def test_a_model_that_is_always_right_wants_no_doubt_and_certain_zeros_are_no_nan():
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(np.array([[0.6, 0.4], [0.3, 0.7]]), [0, 1]).value < 0.06
    wrong = fit_temperature(sure, [1, 0])
    assert (
        np.isfinite([wrong.value, wrong.loss_before, wrong.loss_after]).all() and wrong.value > 19
    )


def test_coverage_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.55, 0.45], [0.4, 0.6]])
    curve = coverage_curve(probabilities, [0, 0, 0, 0, 0])
    # by certainty: 0.9 right; then two with 0.8, one right; 0.6 wrong; 0.55 right
    assert curve["coverage"].tolist() == pytest.approx([0.2, 0.6, 0.8, 1.0])
    assert curve["accuracy"].tolist() == pytest.approx([1.0, 2 / 3, 0.5, 3 / 5])
    assert curve["threshold"].tolist() == pytest.approx([0.9, 0.8, 0.6, 0.55])
    assert (curve["accuracy"] + curve["selective_risk"]).tolist() == pytest.approx([1] * 4)


def test_auroc_counts_pairs_and_scores_are_their_formulas():
    known, unknown = [0.9, 0.6, 0.5], [0.6, 0.1]
    pairs = [(a > b) + 0.5 * (a == b) for a in known for b in unknown]
    assert auroc(known, torch.tensor(unknown)) == pytest.approx(sum(pairs) / 6)
    logits = torch.tensor([[2.0, 0.0], [5.0, 3.0]])
    assert max_probability(logits).tolist() == pytest.approx(
        [0.880797, 0.880797], abs=1e-5
    )  # blind to size
    wanted = [np.log(np.exp(2) + 1), np.log(np.exp(5) + np.exp(3))]
    assert energy_score(logits).tolist() == pytest.approx(wanted, abs=1e-5)
    assert energy_score(logits, 2.0)[0].item() == pytest.approx(2 * np.log(np.exp(1) + 1), abs=1e-5)


def test_logits_come_in_order_whatever_the_batches():
    head, rows = SequenceClassifier(make_base(), 3), planted(7)
    found = class_logits(head, Examples(rows, 3))
    for row, logits in zip(rows.rows, found, strict=True):
        torch.testing.assert_close(
            head(torch.tensor([row["input_ids"]])).logits[0], logits, atol=1e-5, rtol=1e-4
        )


def test_bad_input_is_named():
    good = np.array([[0.5, 0.5]])
    for call, message in (
        (lambda: fit_temperature(good, [2]), "targets: got '2 to 2'"),
        (lambda: fit_temperature(good, [0, 1]), "targets: got .2,."),
        (lambda: coverage_curve([[0.5, 0.6]], [0]), "probabilities: got 'rows that are no"),
        (lambda: coverage_curve(np.zeros((0, 2)), []), "probabilities: got .0, 2."),
        (lambda: auroc([], [1.0]), "known: got .0,."),
        (lambda: energy_score(torch.zeros(1, 2), 0.0), "temperature: got 0.0"),
        (lambda: class_logits(SequenceClassifier(make_base(), 2), []), "batches: got 'none'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()

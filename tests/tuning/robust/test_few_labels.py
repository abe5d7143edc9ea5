"""Self-training, active learning, ensembles and averages of weights against plain recomputation and
known answers."""

import math

import pytest
import torch

from moe_lib.tuning import Encoded, Examples, SequenceClassifier, finetune, predict
from moe_lib.tuning.robust import (
    MovingAverage,
    average_weights,
    ensemble,
    learn_actively,
    self_train,
    uncertainty,
)
from tests.tuning.small import make_base
from tests.tuning.test_finetune import planted


class Scripted(SequenceClassifier):
    """Says class (first token − 20) mod 2 with a probability that is written in the second token: 2
    … 9 tenths."""

    def forward(self, input_ids, attention_mask=None, labels=None, label_smoothing=0.0):
        p = input_ids[:, 1].float() / 100
        side = (input_ids[:, 0] - 20) % 2
        two = torch.stack([torch.where(side == 0, p, 1 - p), torch.where(side == 0, 1 - p, p)], -1)
        hidden, extra = self.base.hidden_states(input_ids, attention_mask)
        return self._finish(
            two.log() + 0 * hidden[:, 0, :2], labels, label_smoothing, extra, attention_mask
        )


def scripted_rows(pairs, labels=None):
    rows = [{"input_ids": [20 + side, tenths, 30 + i]} for i, (side, tenths) in enumerate(pairs)]
    if labels is not None:
        rows = [{**row, "labels": label} for row, label in zip(rows, labels, strict=True)]
    return Encoded(rows, 0, ("a", "b"))


def test_self_training_labels_the_sure_ones_and_logs_how_right_it_was():
    labelled = scripted_rows([(0, 60)], [0])
    labelled.rows[0]["input_ids"][2] = 99
    unlabelled = scripted_rows([(0, 95), (1, 91), (0, 80), (1, 99), (0, 90)], [0, 0, 0, 1, 0])
    seen, measured = [], []

    def fit(rows, round_):
        seen.append((round_, [(tuple(row["input_ids"]), row["labels"]) for row in rows.rows]))
        return Scripted(make_base(), 2)

    run = self_train(
        fit, labelled, unlabelled, rounds=2, threshold=0.9, after=lambda head, r: measured.append(r)
    )
    chosen = [
        ((20, 95, 30), 0),
        ((21, 91, 31), 1),
        ((21, 99, 33), 1),
    ]  # 90 is 0.9 in float32: see below
    assert seen[0] == (0, [((20, 60, 99), 0)])
    assert (
        set(chosen) <= set(seen[1][1])
        and ((20, 80, 32), 0) not in seen[1][1]
        and seen[1][1] == seen[2][1]
    )
    assert measured == [0, 1, 2] and run.log["round"].tolist() == [0, 1, 2]
    row = run.log.iloc[1]
    n = len(seen[1][1]) - 1
    assert (
        row["pseudo"] == n
        and row["share"] == n / 5
        and row["pseudo_accuracy"] == pytest.approx((n - 1) / n)
    )
    assert (
        run.log["pseudo"][0] == 0
        and math.isnan(run.log["pseudo_accuracy"][0])
        and row["classes"] == 2
    )


def test_self_training_never_looks_at_labels_it_was_not_given():
    labelled, hidden = planted(8), planted(20, seed=7)
    wrong = Encoded([{**row, "labels": 1 - row["labels"]} for row in hidden.rows], 0)
    bare = Encoded([{"input_ids": row["input_ids"]} for row in hidden.rows], 0)
    said = []
    for rows in (hidden, wrong, bare):

        def fit(data, round_):
            head = SequenceClassifier(make_base(), 2)
            return finetune(head, Examples(data, 8), steps=6, learning_rate=1e-2).model

        run = self_train(fit, labelled, rows, rounds=1, threshold=0.5)
        said.append(predict(run.head, Examples(hidden, 20)).probabilities)
    assert torch.equal(said[0], said[1]) and torch.equal(said[0], said[2])
    assert math.isnan(run.log["pseudo_accuracy"][1]) and run.log["pseudo"][1] == 20
    with pytest.raises(ValueError, match="unlabelled: got '8 texts that are labelled too'"):
        self_train(fit, labelled, planted(8), rounds=1)
    none = self_train(fit, labelled, hidden, rounds=1, threshold=1.0)
    assert none.log["pseudo"].tolist()[1] <= 1  # nothing is that sure
    with pytest.raises(ValueError, match="threshold: got 1.2"):
        self_train(fit, labelled, hidden, threshold=1.2)


def test_uncertainty_by_hand():
    p = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    assert uncertainty(p, "entropy").tolist() == pytest.approx(
        [1.5 * math.log(2), 0, math.log(3)], abs=1e-6
    )
    assert uncertainty(p, "margin").tolist() == pytest.approx([0.75, 0.0, 1.0], abs=1e-6)
    with pytest.raises(ValueError, match="how: got 'random'"):
        uncertainty(p, "random")


@pytest.mark.parametrize("how", ["entropy", "margin"])
def test_the_least_certain_are_bought_first(how):
    pool = scripted_rows([(0, 95), (1, 55), (0, 70), (1, 99), (0, 60), (1, 85)], [0, 1, 0, 1, 0, 1])
    sizes = []

    def fit(rows, round_):
        sizes.append(len(rows))
        return Scripted(make_base(), 2)

    run = learn_actively(fit, pool, [0], batch=2, rounds=2, how=how)
    assert run.rounds == [[0], [0, 1, 4], [0, 1, 4, 2, 5]] and sizes == [1, 3, 5]


def test_random_buying_is_seeded_and_bad_plans_are_named():
    pool = planted(12)

    def fit(rows, round_):
        return SequenceClassifier(make_base(), 2)

    runs = [
        learn_actively(fit, pool, [3, 4], batch=3, rounds=2, how="random", seed=seed).rounds
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2] and len(set(runs[0][-1])) == 8
    for settings, message in (
        (dict(how="luck"), "how: got 'luck'"),
        (dict(rounds=9), "rounds: got '29 labels in all'"),
        (dict(first=[1, 1]), "first: got"),
        (dict(first=[12]), "first: got"),
        (dict(first=[]), "first: got"),
    ):
        arguments = {"first": [3, 4], "batch": 3, "rounds": 2, **settings}
        with pytest.raises(ValueError, match=message):
            learn_actively(fit, pool, **arguments)


def test_an_ensemble_is_the_mean_of_probabilities():
    heads = [SequenceClassifier(make_base(seed), 3) for seed in range(3)]
    rows = planted(7, classes=2)
    found = ensemble(heads, (batch for batch in Examples(rows, 3)))
    mean = sum(predict(head, Examples(rows, 3)).probabilities for head in heads) / 3
    torch.testing.assert_close(found.probabilities, mean)
    assert found.targets.tolist() == [row["labels"] for row in rows.rows]
    with pytest.raises(ValueError, match="heads: got .* wants probabilities of one shape"):
        ensemble([heads[0], SequenceClassifier(make_base(), 2)], list(Examples(rows, 3)))
    with pytest.raises(ValueError, match="heads: got 'none'"):
        ensemble([], [])


def test_average_weights_is_the_mean_of_every_number_and_refuses_other_shapes():
    heads = [SequenceClassifier(make_base(seed), 3) for seed in range(3)]
    before = [head.state_dict()["classifier.weight"].clone() for head in heads]
    soup = average_weights(heads)
    for name, tensor in soup.state_dict().items():
        torch.testing.assert_close(tensor, sum(head.state_dict()[name] for head in heads) / 3)
    assert all(
        torch.equal(h.state_dict()["classifier.weight"], b)
        for h, b in zip(heads, before, strict=True)
    )
    with pytest.raises(
        ValueError, match=r"heads\[1\]: got 'classifier.bias of shape \(2,\), not \(3,\)'"
    ):
        average_weights([heads[0], SequenceClassifier(make_base(), 2)])
    with pytest.raises(ValueError, match=r"heads\[1\]: got 'base\..*shape"):
        average_weights([heads[0], SequenceClassifier(make_base(moe_intermediate_size=4), 3)])


def test_a_moving_average_follows_finetune():
    head, states = SequenceClassifier(make_base(), 2), []
    average = MovingAverage(head, decay=0.5)

    def note(row):
        average(row)
        states.append({name: tensor.clone() for name, tensor in head.state_dict().items()})

    finetune(head, Examples(planted(8), 4), steps=3, callback=note, learning_rate=1e-2)
    target = SequenceClassifier(make_base(3), 2)
    average.copy_to(target)
    for name, tensor in target.state_dict().items():
        torch.testing.assert_close(
            tensor, 0.25 * states[0][name] + 0.25 * states[1][name] + 0.5 * states[2][name]
        )
    with pytest.raises(ValueError, match="average: got 'no step yet'"):
        MovingAverage(head).copy_to(target)
    with pytest.raises(ValueError, match="decay: got 1.0"):
        MovingAverage(head, 1.0)

"""Mixtures of tasks: exact shares, every row used, the same for the same seed; one mean over answer
tokens."""

from collections import Counter

import pytest
import torch

from moe_lib.tuning import Encoded, finetune
from moe_lib.tuning.prompting import TaskMixture
from tests.tuning.small import make_base


def task(first, n, length=6):
    """n rows whose first token tells the task and the row; the answer has 1 to 4 tokens."""
    rows = []
    for row in range(n):
        ids = [first + row, *range(30, 30 + length)]
        n_answer = 1 + row % 4
        rows.append({"input_ids": ids, "labels": [-100] * (len(ids) - n_answer) + ids[-n_answer:]})
    return Encoded(rows, pad_token_id=0)


def firsts(batch):
    return batch["input_ids"][:, 0].tolist()


def test_shares_are_exact_in_every_round():
    mixture = TaskMixture({"a": task(100, 30), "b": task(200, 10)}, 4, seed=3)
    assert mixture.counts == {"a": 24, "b": 8}
    for round_ in range(3):
        names = Counter(mixture.task_of(step) for step in range(32 * round_, 32 * round_ + 32))
        assert names == {"a": 24, "b": 8}
    orders = [[mixture.task_of(step) for step in range(32 * r, 32 * r + 32)] for r in range(2)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({}, (0.9, 0.1)),
        ({"temperature": 2.0}, (0.75, 0.25)),  # sqrt(90) : sqrt(10) = 3 : 1
        ({"weights": {"a": 1, "b": 4}}, (0.2, 0.8)),
    ],
)
def test_temperature_and_weights(options, shares):
    mixture = TaskMixture({"a": task(100, 90), "b": task(200, 10)}, 5, **options)
    assert tuple(mixture.shares.values()) == pytest.approx(shares)
    assert mixture.counts["a"] == round(32 * shares[0]) and sum(mixture.counts.values()) == 32


def test_a_rare_task_still_comes():
    mixture = TaskMixture({"a": task(100, 99), "b": task(300, 1)}, 5, weights={"a": 1e6, "b": 1})
    assert mixture.counts == {"a": 31, "b": 1}


def test_a_task_uses_every_row_before_it_repeats_one_and_sizes_are_its_own():
    mixture = TaskMixture(
        {"a": task(100, 30), "b": task(200, 12)}, {"a": 5, "b": 3}, weights={"a": 1, "b": 1}
    )
    seen = {"a": [], "b": []}
    for step in range(64):
        seen[mixture.task_of(step)].append(firsts(mixture.at(step)))
    for name, first, n, size in (("a", 100, 30, 5), ("b", 200, 12, 3)):
        assert all(len(batch) == size for batch in seen[name])
        per_epoch = n // size
        for start in range(0, 32 // per_epoch * per_epoch, per_epoch):
            epoch = [row for batch in seen[name][start : start + per_epoch] for row in batch]
            assert sorted(epoch) == list(range(first, first + n))


def test_a_step_is_a_pure_function_of_seed_and_step():
    tasks = {"a": task(100, 30), "b": task(200, 12)}
    one, same, other = (TaskMixture(tasks, 4, seed=seed) for seed in (1, 1, 2))
    late = firsts(one.at(77))
    assert [firsts(one.at(step)) for step in range(40)] == [
        firsts(same.at(step)) for step in range(40)
    ]
    assert late == firsts(same.at(77))
    assert [firsts(one.at(step)) for step in range(40)] != [
        firsts(other.at(step)) for step in range(40)
    ]


def test_a_step_is_one_mean_over_answer_tokens_also_in_parts():
    """Parts with few answer tokens must not weigh as much as parts with many."""
    mixture = TaskMixture({"a": task(100, 8), "b": task(200, 8)}, 8)
    batch = mixture.at(0)
    losses, models = [], []
    for accumulation in (1, 4):
        model = make_base(seed=1, causal=True)
        run = finetune(
            model, mixture, steps=3, accumulation=accumulation, learning_rate=1e-2, balance=False
        )
        losses.append(run.history["loss"].tolist())
        models.append(model)
    with torch.no_grad():
        log_p = make_base(seed=1, causal=True)(
            batch["input_ids"], batch["attention_mask"]
        ).logits.log_softmax(-1)
    tokens = [
        -log_p[row, place - 1, label]
        for row, labels in enumerate(batch["labels"].tolist())
        for place, label in enumerate(labels)
        if label != -100
    ]
    mean = float(torch.stack(tokens).mean())
    rows = [float(torch.stack(tokens[:1]).mean())]
    assert losses[0][0] == pytest.approx(mean, rel=1e-5) and rows[0] != pytest.approx(
        mean, rel=1e-3
    )
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for one, four in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, four, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (({}, 4), {}, "tasks"),
        (({"a": task(100, 3)}, 4), {"temperature": 0}, "temperature"),
        (({"a": task(100, 3)}, 4), {"weights": {"a": 0}}, r"weights\['a'\]"),
        (({"a": task(100, 3)}, 4), {"weights": {"b": 1}}, "weights"),
        (({"a": task(100, 3)}, {"b": 2}), {}, "batch_size"),
        (({"a": task(100, 3)}, 4), {"weights": {"a": 1}, "temperature": 2}, "temperature"),
        (({"a": task(100, 3)}, 0), {}, "batch_size"),
    ],
)
def test_bad_mixtures_are_named(arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TaskMixture(*arguments, **options)

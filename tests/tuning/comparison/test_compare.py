"""A comparison against a loop written out by hand, its intervals against scipy, its file, and what
it refuses."""

import math
from dataclasses import dataclass

import pandas as pd
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from moe_lib.training import evaluate
from moe_lib.tuning import (
    Case,
    Comparison,
    Encoded,
    Examples,
    SequenceClassifier,
    TuningTask,
    compare,
    draw_examples,
    examples_of,
    expert_choices,
    finetune,
    interval,
    load_comparison,
    routing_change,
)
from moe_lib.tuning.impact import activation_bytes, state_bytes
from tests.tuning.small import make_base, random_ids

SETTINGS = {"steps": 3, "learning_rate": 1e-2}
DOMAIN = {
    "a": [{"input_ids": random_ids(2, 9, seed=1), "labels": random_ids(2, 9, seed=1)}],
    "b": [{"input_ids": random_ids(2, 9, seed=2), "labels": random_ids(2, 9, seed=2)}],
}
TEXT = random_ids(3, 12, seed=5)


def labelled(n, seed=0, classes=2):
    """Random texts; the class is the first token's remainder, in shares 3 : 1 : …"""
    ids = random_ids(n, 6, seed=seed).tolist()
    return Encoded(
        [{"input_ids": row, "labels": min(row[0] % 4, classes - 1)} for row in ids],
        0,
        ("x", "y", "z"),
    )


def make_task(**changes):
    return TuningTask(
        **{
            "name": "toy",
            "train": labelled(24),
            "test": labelled(10, seed=1),
            "batch_size": 4,
            "make_head": lambda base: SequenceClassifier(base, 2),
            **changes,
        }
    )


@dataclass(frozen=True)
class Nothing:
    """A method that trains nothing of the base."""

    def attach(self, model):
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        return self


@pytest.fixture(scope="module")
def found():
    cases = [
        Case("full", make_base, settings=SETTINGS),
        Case("head", make_base, Nothing(), settings=SETTINGS),
        Case("full", make_base, n_train=8, settings=SETTINGS),
        Case("dense", lambda: make_base(n_routed_experts=0, n_shared_experts=0), settings=SETTINGS),
    ]
    return compare(cases, make_task(), seeds=(0, 3), pretraining=DOMAIN, routing_text=TEXT)


def test_a_run_is_what_a_loop_written_out_gives(found):
    """The same number of every kind, from the parts that `compare` is made of and plain torch."""
    base, train, test = make_base(), labelled(24), labelled(10, seed=1)
    torch.manual_seed(3)
    head = SequenceClassifier(base, 2)
    losses = {name: evaluate(base, batches) for name, batches in DOMAIN.items()}
    with torch.no_grad():
        before = [
            set(map(int, row))
            for r in base.eval()(TEXT).routing
            if r is not None
            for row in r.experts
        ]
    run = finetune(head, Examples(train, 4, seed=3), seed=3, **SETTINGS)
    with torch.no_grad():
        after = [
            set(map(int, row)) for r in base(TEXT).routing if r is not None for row in r.experts
        ]
        ids, labels = (
            torch.tensor([row[name] for row in test.rows]) for name in ("input_ids", "labels")
        )
        logits = head(ids).logits
    row = found.runs.query("case == 'full' and n_train == 24 and seed == 3").iloc[0]
    assert row["test_accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert row["test_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-5)
    assert row["gap"] == pytest.approx(row["train_accuracy"] - row["test_accuracy"])
    for name, loss in losses.items():
        assert row[f"forgetting_{name}"] == pytest.approx(
            evaluate(base, DOMAIN[name]) - loss, abs=1e-5
        )
    assert row["forgetting"] == pytest.approx((row["forgetting_a"] + row["forgetting_b"]) / 2)
    gone = sum(len(old - new) for old, new in zip(before, after, strict=True))
    assert 0 < row["routing_change"] == pytest.approx(gone / sum(map(len, before)))
    assert row["trainable"] == sum(p.numel() for p in head.parameters()) and row["steps"] == 3
    curve = found.curves.query("case == 'full' and n_train == 24 and seed == 3")
    assert curve["loss"].tolist() == pytest.approx(run.history["loss"].tolist(), abs=1e-6)


def test_what_a_frozen_base_leaves_alone_is_zero_and_a_dense_model_has_no_routing(found):
    rows = found.runs.set_index(["case", "n_train"])
    frozen, dense = rows.loc[("head", 24)], rows.loc[("dense", 24)]
    assert (frozen["routing_change"] == 0).all() and (frozen["forgetting"] == 0).all()
    assert (frozen["trainable"] == 16 * 2 + 2).all()
    assert dense["routing_change"].isna().all() and (dense["forgetting"] != 0).all()
    assert frozen["memory_mb"].max() < rows.loc[("full", 24), "memory_mb"].min()


def test_the_same_call_gives_the_same_numbers_and_leaves_the_random_numbers_alone(found):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    again = compare(
        [Case("full", make_base, n_train=8, settings=SETTINGS)],
        make_task(),
        seeds=(3,),
        pretraining=lambda base: DOMAIN,
        routing_text={"input_ids": TEXT},
    )
    assert torch.rand(1) == expected
    old = found.runs.query("case == 'full' and n_train == 8 and seed == 3").reset_index(drop=True)
    times = ["seconds", "cpu_seconds"]
    pd.testing.assert_frame_equal(again.runs.drop(columns=times), old.drop(columns=times))


def test_intervals_are_those_of_scipy(found):
    summary = found.summary("test_loss").set_index(["case", "n_train"])
    values = found.runs.query("case == 'full' and n_train == 8")["test_loss"]
    low, high = scipy.stats.t.interval(0.95, 1, values.mean(), scipy.stats.sem(values))
    row = summary.loc[("full", 8)]
    assert row["test_loss_low"] == pytest.approx(low) and row["test_loss_high"] == pytest.approx(
        high
    )
    assert list(summary["seeds"]) == [2, 2, 2, 2]
    a, b = (
        found.runs.query(f"case == '{name}' and n_train == 24")["test_loss"]
        for name in ("full", "head")
    )
    low, high = scipy.stats.ttest_rel(a, b).confidence_interval(0.9)
    pair = found.paired("full", "head", "test_loss", n_train=24, confidence=0.9)
    assert (pair.mean, pair.low, pair.high) == pytest.approx((a.mean() - b.mean(), low, high))
    assert (
        interval([1.0, math.nan]).mean == 1
        and math.isnan(interval([1.0]).low)
        and interval([]).n == 0
    )
    assert pair.low + pair.half == pytest.approx(pair.mean) and math.isnan(interval([1.0]).half)


def test_saved_and_read_again(found, tmp_path):
    path = found.save(tmp_path / "c.json", points=2, command="python -m x")
    again = load_comparison(path)
    assert "NaN" not in path.read_text() and again.about["command"] == "python -m x"
    pd.testing.assert_frame_equal(again.runs, found.runs, check_dtype=False, rtol=1e-5)
    assert again.runs["routing_change"].dtype.kind == "f" and again.metric == "test_accuracy"
    curve = again.curves.query("case == 'full' and n_train == 8 and seed == 0")
    full = found.curves.query("case == 'full' and n_train == 8 and seed == 0")["loss"].tolist()
    assert curve["step"].tolist() == [2, 3]
    assert curve["loss"].tolist() == pytest.approx([(full[0] + full[1]) / 2, full[2]], rel=1e-5)
    (tmp_path / "other.json").write_text('{"kind": "x"}')
    with pytest.raises(ValueError, match="other.json: not a moe_lib comparison"):
        load_comparison(tmp_path / "other.json")


def test_it_goes_on_where_it_was_broken_off_and_takes_no_run_of_something_else(tmp_path):
    tried = []

    def one(lr=1e-2, base=make_base, stop=None, **task):
        tried.clear()
        case = Case("full", base, settings={"steps": 2, "learning_rate": lr})

        def callback(row):
            tried.append((row["seed"], row["step"], row["run"], row["runs"]))
            return stop == (row["seed"], row["step"])

        return compare([case], make_task(**task), seeds=(0, 1), scratch=tmp_path, callback=callback)

    stopped = one(stop=(1, 1))
    assert stopped.runs["seed"].tolist() == [0] and tried == [
        (0, 1, 0, 2),
        (0, 2, 0, 2),
        (1, 1, 1, 2),
    ]
    whole = one()
    assert tried == [(1, 1, 1, 2), (1, 2, 1, 2)] and whole.runs["seed"].tolist() == [0, 1]
    pd.testing.assert_frame_equal(one().runs, whole.runs, rtol=1e-5)
    assert not tried
    for change in (
        {"lr": 2e-2},
        {"base": lambda: make_base(seed=1)},
        {"train": labelled(24, seed=7)},
    ):
        one(**change)
        assert len(tried) == 4, change


def test_a_draw_keeps_the_shares_and_a_larger_one_holds_the_smaller():
    everything = labelled(200, classes=3)
    shares = [sum(row["labels"] == k for row in everything.rows) / 200 for k in range(3)]
    order = {tuple(row["input_ids"]) for row in draw_examples(everything, 40, seed=1).rows}
    assert order <= {tuple(row["input_ids"]) for row in draw_examples(everything, 90, seed=1).rows}
    for n in (20, 40, 90):
        rows = draw_examples(everything, n, seed=1).rows
        assert len(rows) == n == len({id(row) for row in rows})
        for k, share in enumerate(shares):
            assert abs(sum(row["labels"] == k for row in rows) - n * share) <= 2
    other = {tuple(row["input_ids"]) for row in draw_examples(everything, 40, seed=2).rows}
    assert other != order


def test_questions_are_drawn_with_all_their_windows():
    rows = [
        {"example": i // 2, "input_ids": [i], "labels": [0, 0] if i % 6 == 0 else [-1, -1]}
        for i in range(24)
    ]
    drawn = draw_examples(Encoded(rows, 0), 6)
    examples = [row["example"] for row in drawn.rows]
    assert examples_of(drawn) == 6 and all(examples.count(e) == 2 for e in examples)
    assert (
        sum(row["labels"][0] == 0 for row in drawn.rows) == 2
    )  # a third of the questions has an answer


def test_a_language_model_and_a_measure_of_ones_own():
    rows = [{"input_ids": row, "labels": row} for row in random_ids(8, 6).tolist()]
    task = TuningTask(
        "prompts",
        Encoded(rows[:6], 0),
        Encoded(rows[6:], 0),
        lambda base: base,
        lambda model, encoded: {"rows": len(encoded)},
        "rows",
        higher_is_better=False,
    )
    case = Case("lm", lambda: make_base(causal=True), settings={"steps": 1})
    runs = compare([case], task, seeds=(0,)).runs
    assert (
        runs["test_rows"][0] == 2 == runs["train_rows"][0]
        and runs["gap"][0] == 0
        and runs["test_loss"][0] > 0
    )
    assert not {"forgetting", "routing_change"} & set(runs)


def test_prepare_changes_what_is_trained_on_and_fit_takes_the_place_of_finetune():
    seen = {}

    def prepare(encoded, seed):
        seen["prepared"] = (len(encoded), seed)
        return encoded.select(range(3))

    def fit(head, batches, **options):
        seen["rows"], seen["validation"] = (
            len(batches.encoded),
            len(options.pop("validation").encoded),
        )
        return finetune(head, batches, steps=options.pop("twice") * 2, **options)

    case = Case("own", make_base, n_train=8, settings={"twice": 1}, prepare=prepare, fit=fit)
    runs = compare([case], make_task(validation=labelled(5)), seeds=(4,)).runs
    assert seen == {"prepared": (8, 4), "rows": 3, "validation": 5}
    assert runs["steps"][0] == 2 and runs["n_train"][0] == 8


def test_memory_is_counted_from_the_tensors():
    head = SequenceClassifier(
        make_base(n_routed_experts=0, n_shared_experts=0, num_hidden_layers=1), 2
    )
    all_parameters = sum(p.numel() for p in head.parameters())
    buffers = sum(b.nbytes for b in head.buffers())
    assert state_bytes(head) == 16 * all_parameters + buffers
    head.base.requires_grad_(False)
    assert state_bytes(head) == 4 * all_parameters + 12 * 34 + buffers
    layer = torch.nn.Linear(8, 4)  # y = W x keeps x alone: 5 · 8 floats

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x)

    assert activation_bytes(Wrapped(), {"x": torch.randn(5, 8)}) == 5 * 8 * 4


def test_choices_leave_padding_out_and_changes_are_shares():
    base = make_base().eval()
    ids = random_ids(2, 5)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    layers = expert_choices(base, ids, mask)
    assert [tuple(layer.shape) for layer in layers] == [(8, 4)] * 2
    assert all((layer.sum(1) == 2).all() for layer in layers)
    a = torch.tensor([[True, True, False, False]])
    b = torch.tensor([[True, False, True, False]])
    assert routing_change([a, a], [a, b]) == 0.25 and math.isnan(routing_change([], []))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Case("", make_base), "name: got ''"),
        (lambda: Case("a", 3), "base: got 3"),
        (lambda: Case("a", make_base, method=3), "method: got 'int'; wants an object with .attach"),
        (lambda: Case("a", make_base, settings={"rate": 1}), "settings of 'a': got .*rate"),
        (lambda: compare([], make_task()), "cases: got \\[\\]"),
        (lambda: compare([Case("a", make_base)], "task"), "task: got 'task'"),
        (
            lambda: compare([Case("a", make_base)], make_task(), seeds=(1, 1)),
            "seeds: got \\[1, 1\\]",
        ),
        (lambda: compare([Case("a", make_base)], make_task(), seeds=()), "seeds: got \\[\\]"),
        (
            lambda: compare([Case("a", make_base, n_train=99)], make_task()),
            "n_train of 'a': got 99; wants at most 24",
        ),
        (
            lambda: compare([Case("a", make_base), Case("a", make_base, n_train=24)], make_task()),
            "cases: got .*a with 24 examples.*once",
        ),
        (
            lambda: compare([Case("a", make_base, settings={"steps": 1})], make_task(metric="f1")),
            "metric: got 'f1'; wants one of loss, accuracy",
        ),
        (
            lambda: compare([Case("a", make_base)], make_task(), pretraining={}),
            "pretraining: got 'no domains'",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_questions_to_a_comparison_that_it_cannot_answer_are_named(found):
    for call, message in [
        (lambda: found.summary("f1"), "metrics: got \\['f1'\\]"),
        (lambda: found.paired("full", "other"), "n_train: got None; wants one of \\[8, 24\\]"),
        (
            lambda: found.paired("head", "other"),
            "b: got 'other'; wants one of full, head, dense",
        ),
        (lambda: found + found, "other: .*other cases or other seeds"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    other = Comparison(
        found.runs.assign(seed=found.runs["seed"] + 10),
        found.curves,
        {**found.about, "seeds": [10]},
    )
    both = found + other
    assert len(both.runs) == 16 and both.about["seeds"] == [0, 3, 10]

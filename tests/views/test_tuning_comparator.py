"""The fine-tuning comparator in code: choices, its words against the numbers, its places, runs made
now, errors."""

import math
import threading

import pytest
import scipy.stats

from moe_lib.tuning import Comparison
from moe_lib.views.kit.palette import contrast
from moe_lib.views.tuning_comparator.payload import COLOURS, nice_ticks, style
from moe_lib.views.tuning_comparator.widget import TuningComparator
from tests.views.comparisons import made_up

CLOSE = {"full": 0.80, "LoRA": 0.795, "head": 0.5}


@pytest.fixture
def comparator():
    return TuningComparator(
        {"intents": made_up(), "sentiment": made_up("sentiment", ("full", "prefix"), (50,))}
    )


def now(**changes):
    """What a notebook's `run` gives: one seed, the cases it was asked for."""

    def run(task, methods, n_train, report):
        for step in range(1, 4):
            if report(
                {"case": methods[0], "seed": 9, "run": 0, "runs": 2, "step": step, "loss": 1.5}
            ):
                break
        return made_up(task, tuple(methods), (n_train,), (9,), **changes)

    return run


def test_choices_change_what_is_shown(comparator):
    assert (comparator.task, comparator.n_train, comparator.methods) == (
        "intents",
        300,
        ["full", "LoRA", "head"],
    )
    comparator.methods = ["head", "full"]
    comparator.n_train = 100
    assert [row["case"] for row in comparator.view["table"]["rows"]] == ["full", "head"]
    assert comparator.table["test_accuracy"].tolist() == pytest.approx([0.802, 0.562], abs=0.003)
    assert "100 labelled examples: 2 methods" in comparator.summary
    comparator.task = "sentiment"
    assert (comparator.n_train, comparator.methods) == (
        50,
        ["full"],
    )  # what both tasks have stays chosen
    assert len(comparator.view["charts"]) == 1  # one size: nothing to draw over the sizes
    comparator.methods = "prefix"
    comparator.task = "intents"
    assert comparator.methods == ["full", "LoRA", "head"]


def test_the_table_says_what_the_runs_say(comparator):
    row = comparator.view["table"]["rows"][1]
    runs = comparator.comparison.runs.query("case == 'LoRA' and n_train == 300")
    low, high = scipy.stats.t.interval(
        0.95, 2, runs["test_accuracy"].mean(), scipy.stats.sem(runs["test_accuracy"])
    )
    assert row["text"]["mean"] == f"{runs['test_accuracy'].mean():.3f}"
    assert (
        row["text"]["interval"] == f"{low:.3f} to {high:.3f}"
        and row["text"]["trainable"] == "92,500"
    )
    half = high - runs["test_accuracy"].mean()
    places = row["quality"]
    assert (
        places["ends"][0]
        < min(places["seeds"])
        <= places["mean"]
        <= max(places["seeds"])
        < places["ends"][1]
    )
    scale = (max(places["seeds"]) - min(places["seeds"])) / (
        runs["test_accuracy"].max() - runs["test_accuracy"].min()
    )
    assert places["ends"][1] - places["mean"] == pytest.approx(
        half * scale, rel=0.02
    )  # one scale for all


def test_words_tell_apart_what_the_seeds_tell_apart():
    words = TuningComparator({"t": made_up(quality=CLOSE)})
    assert (
        "Best on average: full" in words.view["words"]
        and "Told apart from it, seed by seed: head −" in words.summary
    )
    warning = words.view["warnings"][0]
    pair = made_up(quality=CLOSE).paired("LoRA", "full", n_train=300)
    assert "do not show that full is better than LoRA" in warning and pair.low < 0 < pair.high
    assert f"({pair.low:.3f} to {pair.high:.3f})".replace("-", "−") in warning
    words.methods = ["full", "head"]
    assert words.view["warnings"] == []


def test_intervals_that_overlap_though_seeds_tell_them_apart_are_said():
    noisy = made_up(cases=("full", "LoRA"), sizes=(100,), quality={"full": 0.8, "LoRA": 0.797})
    shift = {0: -0.1, 1: 0.0, 2: 0.1}  # what a seed does to both methods alike
    runs = noisy.runs.assign(
        test_accuracy=[
            0.8 - 0.03 * (case == "LoRA") + 0.001 * (seed == 1) * (case == "LoRA") + shift[seed]
            for case, seed in zip(noisy.runs["case"], noisy.runs["seed"], strict=True)
        ]
    )
    shown = TuningComparator({"t": Comparison(runs, noisy.curves, noisy.about)})
    assert "seed by seed: LoRA −0.03" in shown.view["words"]
    assert shown.view["warnings"] == [
        "The interval of LoRA overlaps that of full. Only the comparison seed by seed "
        "tells them apart."
    ]


def test_one_seed_and_different_numbers_of_seeds_are_warned_of():
    one = TuningComparator({"t": made_up(seeds=(4,))})
    assert (
        "one seed only, so no interval" in one.summary
        and one.view["table"]["rows"][0]["quality"]["ends"] == []
    )
    assert one.view["table"]["rows"][0]["text"]["interval"] == "one seed"
    mixed = made_up(sizes=(100,), cases=("full", "LoRA"))
    mixed = Comparison(mixed.runs.drop(index=5), mixed.curves, mixed.about)
    assert any(
        "different numbers of seeds (2, 3)" in text
        for text in TuningComparator({"t": mixed}).view["warnings"]
    )


def test_an_error_rate_is_better_when_it_is_lower():
    lower = made_up(quality={"full": 0.5, "LoRA": 0.4, "head": 0.3})
    lower.about["higher_is_better"] = False
    assert "lower is better" in TuningComparator({"t": lower}).summary
    assert "Best on average: head" in TuningComparator({"t": lower}).summary


def test_curves_are_means_over_the_seeds_in_places_from_0_to_1(comparator):
    comparator.curve = "validation_loss"
    chart = comparator.view["charts"][0]
    line = chart["lines"][0]
    assert len(line["points"]) == 4 and len(line["thin"]) == 3  # measured at 4 of 20 steps
    assert [x for x, _ in line["points"]] == [0.25, 0.5, 0.75, 1.0]
    assert all(a[1] > b[1] for a, b in zip(line["points"], line["points"][1:], strict=False))
    comparator.curve = "loss"
    line = comparator.view["charts"][0]["lines"][0]
    rows = comparator.comparison.curves.query("case == 'full' and n_train == 300 and step == 20")[
        "loss"
    ]
    ends = [points[-1][1] for points in line["thin"]]
    assert line["points"][-1][1] == pytest.approx(sum(ends) / 3, abs=2e-4)
    assert ends[2] - ends[0] == pytest.approx((ends[1] - ends[0]) * 2, abs=3e-4) and rows.std() > 0
    sizes = comparator.view["charts"][1]
    assert [name for _, name in sizes["x"]] == ["100", "300"] and len(
        sizes["lines"][0]["whiskers"]
    ) == 2


def test_ticks_are_round():
    assert nice_ticks(0, 20) == [0, 5, 10, 15, 20]
    assert nice_ticks(0.713, 0.891, 3) == [0.75, 0.8, 0.85] or nice_ticks(0.713, 0.891, 3) == [0.8]
    assert nice_ticks(3, 3) == [3]
    ticks = nice_ticks(-0.031, 0.2)
    assert ticks[0] >= -0.031 and ticks[-1] <= 0.2 and 0 in ticks


def test_a_run_made_now_stands_beside_the_stored_ones():
    comparator = TuningComparator({"intents": made_up()}, run=now())
    comparator.methods = ["LoRA"]
    comparator.start()
    assert comparator.wait(60) and comparator.state == "finished"
    assert (
        comparator.methods == ["LoRA", "LoRA (run now)"]
        and comparator.view["status"] == "The run has finished."
    )
    assert "LoRA (run now): one seed only" in comparator.summary and comparator.table[
        "seeds"
    ].tolist() == [3, 1]
    comparator.start()  # runs made now are not run again
    comparator.wait(60)
    assert comparator.methods == ["LoRA", "LoRA (run now)", "LoRA (run now 2)"]


def test_a_run_can_be_stopped_and_tells_where_it_is():
    seen, go = [], threading.Event()

    def run(task, methods, n_train, report):
        for step in range(10_000):
            if report({"case": "full", "seed": 1, "run": 1, "runs": 4, "step": step, "loss": 1.25}):
                return made_up(task, ("full",), (n_train,), (1,))
            seen.append(step)
            go.set()
            threading.Event().wait(0.001)

    comparator = TuningComparator({"intents": made_up()}, run=run)
    comparator.start()
    assert go.wait(60)
    with pytest.raises(RuntimeError, match="a run is going on"):
        comparator.start()
    assert comparator.view["progress"]["share"] == 0.25
    assert comparator.view["progress"]["words"].startswith("run 2 of 4, full, seed 1, step ")
    comparator.receive({"act": "stop"})
    comparator.wait(60)
    assert (
        comparator.state == "stopped" and len(seen) < 10_000 and comparator.view["progress"] is None
    )
    assert "full (run now)" in comparator.known_methods


def test_a_run_that_fails_is_shown_and_raised_by_wait():
    def run(task, methods, n_train, report):
        raise ValueError("no such model")

    comparator = TuningComparator({"intents": made_up()}, run=run)
    comparator.start()
    with pytest.raises(ValueError, match="no such model"):
        comparator.wait(60)
    assert comparator.state == "failed" and "ValueError: no such model" in comparator.summary
    comparator = TuningComparator({"intents": made_up()}, run=now(metric="f1"))
    comparator.start()
    comparator.wait(60)
    assert "measured f1'; wants runs that measure accuracy" in comparator.view["problem"]


def test_messages_of_the_page(comparator):
    comparator.receive({"task": "sentiment"})
    comparator.receive({"methods": ["prefix"]})
    assert comparator.view["task"] == "sentiment" and comparator.methods == ["prefix"]
    comparator.receive({"n_train": 7})
    assert "n_train: got 7; wants one of [50]" in comparator.view["problem"]
    comparator.receive({"act": "run"})
    assert "only stored runs" in comparator.view["problem"] and comparator.state == "ready"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: TuningComparator({}), TypeError, "comparisons"),
        (lambda c: TuningComparator({"a": 3}), TypeError, r"comparisons\['a'\]: got 'int'"),
        (lambda c: TuningComparator({"a": made_up()}, run=3), TypeError, "run: got 'int'"),
        (
            lambda c: setattr(c, "task", "x"),
            ValueError,
            "task: got 'x'; wants one of intents, sentiment",
        ),
        (lambda c: setattr(c, "methods", []), ValueError, r"methods: got \[\]"),
        (lambda c: setattr(c, "methods", ["x"]), ValueError, "methods: .*full, LoRA, head"),
        (
            lambda c: setattr(c, "curve", "x"),
            ValueError,
            "curve: got 'x'; wants one of loss, validation_loss",
        ),
        (lambda c: c.wait(), RuntimeError, "nothing has been started"),
    ],
)
def test_bad_input_is_named(comparator, call, error, message):
    with pytest.raises(error, match=message):
        call(comparator)
    assert comparator.task == "intents" and len(comparator.methods) == 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "changes", [{}, {"seeds": (1,), "sizes": (100,)}, {"cases": ("dense $x$ 你好 " * 4,)}]
)
def test_picture_and_words_stand_beside_the_live_view(changes):
    comparator = TuningComparator({"intents": made_up(**changes)})
    data, metadata = comparator._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(data)
    assert (
        metadata["image/png"]["alt"] == comparator.summary and comparator.png() == comparator.png()
    )


def test_missing_columns_leave_gaps_and_nothing_breaks():
    bare = made_up()
    columns = ["case", "method", "n_train", "seed", "trainable", "seconds", "test_accuracy"]
    comparator = TuningComparator(
        {"t": Comparison(bare.runs[columns], bare.curves.iloc[:0], bare.about)}
    )
    text = comparator.view["table"]["rows"][0]["text"]
    assert text["forgetting"] == text["gap"] == "–" and "Forgets" not in comparator.summary
    assert comparator.curve == "" and len(comparator.view["charts"]) == 1 and comparator.png()
    dense = TuningComparator({"t": made_up(dense=("full",))})
    assert [row["text"]["routing_change"] for row in dense.view["table"]["rows"]][:2] == [
        "–",
        "0.10 ± 0.00",
    ]
    assert not any(
        isinstance(x, float) and math.isnan(x)
        for row in dense.view["table"]["rows"]
        for x in row.values()
    )


def test_sixteen_methods_differ_in_colour_or_dashes_and_stand_out_in_both_themes():
    known = [str(i) for i in range(16)]
    assert len({tuple(style(case, known).items()) for case in known}) == 16
    assert all(
        contrast(colour, ground) >= 3 for colour in COLOURS for ground in ("#ffffff", "#111111")
    )

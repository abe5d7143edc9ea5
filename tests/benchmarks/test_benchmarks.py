"""The benchmarks at a tiny size: they compare what they say, save every row, and their report types
nothing by hand."""

import re

import pytest
import torch

from benchmarks import moe_layer, moe_parts, monitor, report, timing, train_step
from benchmarks.layer_cases import CASES, DENSE, EAGER, GROUPED, OURS, Case, Contest

TINY = Case(16, 4, 8, 2, 24)
TINY_MODEL = train_step.QUICK["tiny"].replace(vocab_size=48)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("case", [TINY, Case(16, 8, 8, 3, 24, skew=2.0)])
def test_all_competitors_but_dense_compute_the_same(case):
    differences = Contest(case).differences(
        [OURS, EAGER, GROUPED, "run_masked", "run_sorted", "run_grouped"]
    )
    assert max(differences.values()) < 1e-5


@pytest.fixture
def replace_grouped(monkeypatch):
    """Puts wrap(original) in the place of transformers' grouped_mm experts."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    original = ALL_EXPERTS_FUNCTIONS["grouped_mm"]
    known = type(ALL_EXPERTS_FUNCTIONS)._global_mapping
    return lambda wrap: monkeypatch.setitem(known, "grouped_mm", wrap(original))


def test_transformers_really_runs_two_implementations(replace_grouped):
    called = []
    replace_grouped(lambda original: lambda *given: called.append(1) or original(*given))
    forwards = Contest(TINY).forwards()
    forwards[EAGER]()
    assert not called
    forwards[GROUPED]()
    assert called


def test_a_competitor_that_computes_something_else_stops_the_run(replace_grouped):
    replace_grouped(lambda original: lambda *given: 1.01 * original(*given))
    with pytest.raises(AssertionError, match="transformers grouped_mm differs from run_loop"):
        moe_layer.measure(TINY, seconds=0.0)


def test_skew_makes_the_load_uneven_and_dense_has_the_active_size():
    even, skewed = Contest(TINY), Contest(Case(16, 4, 8, 2, 24, skew=3.0))
    assert skewed.violation() > even.violation() + 0.3
    active = sum(p.numel() for p in even.experts.parameters()) * TINY.k // TINY.E
    assert sum(p.numel() for p in even.dense.parameters()) == active


def test_four_first_cases_are_those_of_the_goals():
    assert [(c.d, c.E, c.I, c.k, c.tokens) for c in CASES[:4]] == [
        (128, 8, 128, 2, 2048),
        (256, 16, 128, 4, 2048),
        (256, 64, 64, 6, 2048),
        (512, 16, 256, 4, 4096),
    ]
    assert max(c.E for c in CASES) == 256 and max(c.k for c in CASES) == 8
    assert {64, 8192} <= {c.tokens for c in CASES} and any(c.skew for c in CASES)


def test_ratio_is_taken_within_each_round():
    """Both slow down together: medians of times would say 2, the competitor is twice as slow in
    every round."""
    summary = timing.summarise({"base": [1.0, 5.0, 1.0], "other": [2.0, 10.0, 2.0]}, "base")
    assert summary["other"] == {"median_ms": 2000.0, "min_ms": 2000.0, "ratio": 2.0, "rounds": 3}
    summary = timing.summarise({"base": [1.0, 1.0, 5.0], "other": [2.0, 9.0, 10.0]}, "base")
    assert summary["other"]["ratio"] == 2.0, "a ratio of medians would be 9"


def test_interleave_takes_turns_and_prepares_each_run():
    calls = []
    taken = timing.interleave(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        lambda: calls.append("p"),
        seconds=0.0,
        rounds=(2, 9),
    )
    assert calls == ["p", "a", "p", "b"] * 3 and [len(t) for t in taken.values()] == [2, 2]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """All result files at a tiny size, under the names of the real ones."""
    folder, patch = tmp_path_factory.mktemp("results"), pytest.MonkeyPatch()
    patch.setattr(moe_layer, "QUICK", [TINY])
    patch.setattr(moe_parts, "QUICK", [TINY])
    patch.setattr(train_step, "QUICK", {"tiny": TINY_MODEL})
    quick = ["--quick", "--seconds", "0", "--threads", "1", "--out", str(folder)]
    moe_layer.main([*quick, "--device", "cpu"])
    moe_layer.main([*quick, "--device", "cpu", "--ways"])
    moe_parts.main(quick)
    train_step.main([*quick, "--device", "cpu"])
    patch.undo()
    for path in folder.iterdir():
        path.rename(folder / path.name.replace("_quick", ""))
    return folder


def test_layer_rows(results):
    rows = timing.load(results / "moe_layer_cpu.csv")
    assert [row["competitor"] for row in rows] == [DENSE, OURS, EAGER, GROUPED]
    for row in rows:
        assert float(row["median_ms"]) >= float(row["min_ms"]) > 0 and int(row["rounds"]) >= 5
        assert (
            row["threads"] == "1"
            and row["torch"] == torch.__version__
            and row["machine"]
            and row["date"]
        )
    assert float(rows[0]["ratio"]) == 1.0
    ways = [row["competitor"] for row in timing.load(results / "moe_layer_cpu_ways.csv")]
    assert ways[-4:] == ["run_masked", "run_loop", "run_sorted", "run_grouped"]


def test_parts_rows(results):
    rows = timing.load(results / "moe_parts_cpu.csv")
    names = {
        kind: [row["name"] for row in rows if row["kind"] == kind] for kind in ("part", "step")
    }
    assert len(names["part"]) == 9 and names["step"] == [DENSE, OURS, GROUPED, "run_grouped"]
    assert all(row["page_faults"].isdigit() for row in rows if row["kind"] == "step")


def test_train_rows_and_equal_models(results):
    rows = {row["competitor"]: row for row in timing.load(results / "train_step_cpu.csv")}
    assert list(rows)[:3] == [EAGER, GROUPED, OURS] and len(rows) == 6
    assert rows[EAGER]["parameters"] == rows[GROUPED]["parameters"] == rows[OURS]["parameters"]
    assert float(rows[OURS]["third_loss"]) == pytest.approx(
        float(rows[EAGER]["third_loss"]), abs=1e-3
    )


def test_model_without_experts_has_the_active_width():
    models = train_step.make_models(TINY_MODEL)
    width = models["ours, no experts"].config.intermediate_size
    assert (
        width
        == (TINY_MODEL.num_experts_per_tok + TINY_MODEL.n_shared_experts)
        * TINY_MODEL.moe_intermediate_size
    )
    assert (
        models["ours, balance loss"].config.aux_loss_alpha > 0 == models[OURS].config.aux_loss_alpha
    )


def test_report_fills_every_table_from_the_files(results):
    text = report.README.read_text(encoding="utf-8")
    names = re.findall(r"<!-- table (\w+) -->", text)
    assert sorted(names) == sorted(report.TABLES), "every table has its place in the README"
    filled = report.fill(text, results)
    assert report.fill(filled, results) == filled
    ours = next(r for r in timing.load(results / "moe_layer_cpu.csv") if r["competitor"] == OURS)
    assert f"| {float(ours['ratio']):.2f}× |" in filled and "0.00×" not in filled
    assert "Not measured: results/moe_layer_cuda.csv is not there." in filled


def test_report_names_an_unknown_table(results):
    with pytest.raises(ValueError, match="table: got 'nothing'; wants one of layer_cpu"):
        report.fill("<!-- table nothing -->\n<!-- end -->", results)


def test_readme_is_up_to_date():
    text = report.README.read_text(encoding="utf-8")
    assert report.fill(text) == text, "run python -m benchmarks.report"


def test_share_of_products_tells_a_product_from_a_sum():
    numbers = torch.rand(400, 400)
    products = train_step.share_of_products(lambda: (numbers @ numbers @ numbers, 0.0)[1])
    sums = train_step.share_of_products(lambda: (numbers + numbers).sum().item())
    assert products > 0.8
    assert sums == 0


def test_the_monitors_cost_is_a_ratio_of_steps(monkeypatch, capsys):
    monkeypatch.setattr(monitor, "SIZES", {"small": (16, 4, 2, 2, 8, 1)})
    monitor.main(["--rounds", "1"])
    words = capsys.readouterr().out.split()
    assert words[0] == "small" and float(words[3]) > 0 and float(words[6]) > 0

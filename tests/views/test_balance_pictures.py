"""The figure, the words and the page's rows of recorded runs, on small records made by hand."""

import pytest
import torch

from moe_lib.training.loop import StepReport
from moe_lib.training.recorder import BalanceRecorder
from moe_lib.views.balance_dashboard.figure import balance_figure
from moe_lib.views.balance_dashboard.payload import (
    LAYER_LINES,
    LOAD_COLOURS,
    load_stops,
    step_rows,
)
from moe_lib.views.balance_dashboard.words import run_title, run_words
from moe_lib.views.kit.palette import contrast

EVEN, ONE, HALF = [2, 2, 2, 2], [8, 0, 0, 0], [4, 4, 0, 0]


def recorded(loads, name="run 1", tokens=4, **columns):
    """A recorder that was told these loads, (steps, layers, E), and a loss of 3 − step / 10."""
    recorder = BalanceRecorder(name, steps=len(loads))
    for step, layers in enumerate(loads):
        row = {"step": step, "loss": 3 - step / 10, "tokens": tokens}
        row |= {column: values[step] for column, values in columns.items()}
        recorder(StepReport(row, [torch.tensor(load) for load in layers]))
    return recorder


def test_words_tell_the_numbers():
    run = recorded([[EVEN, ONE]] * 3 + [[EVEN, HALF]] * 10, dropped_share=[0.0] * 8 + [0.25] * 5)
    words = run_words(run)
    assert (
        "13 of 13 steps" in words
        and "loss 2.25 nats per token (means of the last 10 steps)" in words
    )
    assert "Layer 0: MaxVio 0.00, load entropy 1.00" in words
    assert (
        "Layer 1: MaxVio 1.00, load entropy 0.50; expert 0 has 2.0 times an even share, 2 of "
        "4 experts" in words
    )
    assert "12.5 % of the choices are dropped" in words
    assert "no step is done" in run_words(BalanceRecorder("run 3"))


def test_titles_tell_the_way_of_the_cures():
    alphas = [0.0, 0.1, 0.2, 0.2, 0.0]
    run = recorded(
        [[EVEN]] * 5, aux_loss_alpha=alphas, seq_aux=[True] * 5, bias_update_speed=[0.0] * 4 + [0.5]
    )
    assert run_title(run) == "run 1: no cure → auxiliary loss 0.2 per sequence → bias, speed 0.5"
    assert [step for step, _ in run.cures] == [0, 1, 2, 4]
    assert run_title(recorded([[EVEN]])) == "run 1" and recorded([[EVEN]]).cures == []


def test_the_figure_draws_the_record_with_aligned_axes():
    one = recorded([[EVEN, ONE], [HALF, ONE], [EVEN, HALF]])
    other = recorded([[ONE, EVEN]] * 6, name="run 2", heldout_loss=[2.0] * 6)
    figure = balance_figure([one, other])
    axes = figure.axes[:-1]  # the last is the colour bar
    assert len(axes) == 10, "two maps, MaxVio, entropy and loss for each of two runs"
    assert torch.equal(torch.as_tensor(axes[2].images[0].get_array()), one.shares()[:, 1].T)
    assert list(axes[4].lines[2].get_ydata()) == [3.0, 3.0, 1.0], "MaxVio of layer 1"
    assert len({ax.get_xlim() for ax in axes}) == 1 and axes[0].get_xlim() == (0, 6)
    for left, right in zip(axes[::2], axes[1::2], strict=True):
        assert left.get_ylim() == right.get_ylim()
    assert len(balance_figure(one).axes) == 6, "a run alone needs no list"
    with_drops = recorded([[EVEN]] * 3, dropped_share=[0.0, 0.1, 0.2])
    assert len(balance_figure(with_drops).axes) == 6, (
        "a map, MaxVio, entropy, drops, loss and the colour bar"
    )


def test_the_figure_refuses_what_does_not_fit():
    one = recorded([[EVEN, ONE]])
    with pytest.raises(ValueError, match="runs: got '0 runs'"):
        balance_figure([])
    with pytest.raises(ValueError, match="5 runs"):
        balance_figure([one] * 5)
    with pytest.raises(ValueError, match="same experts"):
        balance_figure([one, recorded([[EVEN]])])
    assert balance_figure(BalanceRecorder("run 1")).texts[0].get_text() == "No step is done yet."


def test_rows_from_a_step_on_are_those_of_the_record():
    run = recorded([[EVEN], [ONE], [HALF]], heldout_loss=[1.0, 2.0, 3.0])
    rows = step_rows(run, 1)
    assert [row["load"] for row in rows] == [[[4.0, 0.0, 0.0, 0.0]], [[2.0, 2.0, 0.0, 0.0]]]
    assert (
        [row["vio"] for row in rows] == [[3.0], [1.0]]
        and rows[0]["held"] == 2.0
        and step_rows(run, 3) == []
    )


def test_the_scale_runs_from_nothing_to_everything():
    assert load_stops(8, 2) == [0.0, 0.5, 1.0, 2.0, 4.0]
    stops = load_stops(4, 4)
    assert stops == sorted(set(stops)), "all experts chosen: still a scale"
    dark, pale = (contrast(LOAD_COLOURS[place], LOAD_COLOURS[2]) for place in (0, 4))
    assert dark > 6 and pale > 6, "nothing and everything stand out from an even share"


@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
def test_lines_stand_out_in_both_themes(ground):
    assert all(contrast(colour, ground) >= 3 for colour, _ in LAYER_LINES)

"""The balance dashboard driven by code and by the messages of its page; its figure and its
words."""

import json
import threading
import time

import pytest
import torch

from moe_lib.views.balance_dashboard.payload import ALPHAS
from moe_lib.views.balance_dashboard.widget import BalanceDashboard
from moe_lib.views.balance_dashboard.words import run_title
from tests.training.small import RandomBatches, make_model

LONG = 120  # seconds until a test gives up; it waits for an event, never for this long

pytestmark = pytest.mark.usefixtures("one_thread")


def config(**changes):
    return make_model(router="biased_topk", **changes).config


@pytest.fixture
def dashboard_of():
    """Makes dashboards that note the messages to their pages, and ends their trainings whatever the
    test did."""
    made = []

    def make(the_config=None, batches=None, steps=10_000, **options):
        dashboard = BalanceDashboard(
            the_config or config(), batches or RandomBatches(), steps=steps, **options
        )
        vars(dashboard)["messages"] = []
        dashboard.send = lambda content, buffers=None: dashboard.messages.append(content)
        made.append(dashboard)
        return dashboard

    yield make
    for dashboard in made:
        dashboard.close()


def until(condition):
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


# Driven by code


def test_runs_are_kept_and_reproducible(dashboard_of):
    dashboard = dashboard_of(steps=4)
    assert dashboard.state == "ready" and "No run yet" in dashboard.summary
    for _ in range(2):
        dashboard.start()
        assert dashboard.wait(LONG) and dashboard.state == "finished"
    first, second = dashboard.runs
    assert first.n_steps == second.n_steps == 4 and first.column("loss") == second.column("loss")
    dashboard.seed = 1
    dashboard.start("bias")
    dashboard.wait(LONG)
    assert dashboard.runs[2].column("loss") != first.column("loss")
    assert [run.name for run in dashboard.runs] == ["run 1", "run 2", "run 3"]


@pytest.mark.parametrize(
    ("cure", "name", "column"),
    [("auxiliary", "alpha", "aux_loss_alpha"), ("bias", "bias_update_speed", "bias_update_speed")],
)
def test_a_setting_changed_in_mid_run_arrives_in_the_training(dashboard_of, cure, name, column):
    dashboard = dashboard_of()
    dashboard.start(cure)
    dashboard.wait(LONG, step=3)
    setattr(dashboard, name, 0.777)
    seen = dashboard.training.steps_done
    dashboard.wait(LONG, step=seen + 3)
    dashboard.stop()
    values = dashboard.runs[0].column(column)
    assert (
        values[0] not in (0, 0.777)
        and values[-1] == 0.777
        and sorted(set(values)) == sorted({values[0], 0.777})
    )
    assert dashboard.runs[0].cures[1][0] == values.index(0.777)


def test_the_cure_itself_can_change_in_mid_run(dashboard_of):
    dashboard = dashboard_of()
    dashboard.start()
    dashboard.wait(LONG, step=2)
    dashboard.cure = "bias"
    dashboard.wait(LONG, step=dashboard.training.steps_done + 2)
    dashboard.stop()
    assert run_title(dashboard.runs[0]) == "run 1: no cure → bias, speed 0.03"
    assert dashboard.runs[0].column("bias_update_speed")[0] == 0


def test_starting_twice_is_refused_in_words(dashboard_of):
    dashboard = dashboard_of()
    dashboard.start()
    with pytest.raises(
        RuntimeError, match=r"start: run 1 is (running|paused) at step \d+ of 10000; stop\(\) it"
    ):
        dashboard.start()
    dashboard.pause()
    held = dashboard.training.steps_done
    with pytest.raises(RuntimeError, match="run 1 is paused"):
        dashboard.start("bias")
    assert len(dashboard.runs) == 1 and dashboard.cure == "none"
    dashboard.resume()
    assert dashboard.wait(LONG, step=held + 1)
    dashboard.stop()
    assert (
        dashboard.state == "stopped" and dashboard.runs[0].n_steps == dashboard.training.steps_done
    )


def test_close_ends_the_training(dashboard_of):
    dashboard = dashboard_of()
    before = threading.active_count()
    dashboard.start()
    dashboard.wait(LONG, step=1)
    assert threading.active_count() > before
    dashboard.close()
    assert not dashboard.training.alive and threading.active_count() == before


class BrokenBatches(RandomBatches):
    def at(self, step):
        if step == 2:
            raise OSError("the disk has gone")
        return super().at(step)


def test_a_failing_training_is_shown_and_raised(dashboard_of):
    dashboard = dashboard_of(batches=BrokenBatches())
    dashboard.start()
    with pytest.raises(OSError, match="disk"):
        dashboard.wait(LONG)
    assert dashboard.state == "failed" and dashboard.runs[0].n_steps == 2
    assert (
        "OSError: the disk has gone" in dashboard.view["problem"]
        and "step 2 of" in dashboard.view["problem"]
    )
    assert "OSError: the disk has gone" in dashboard.summary


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"cure": "magic"}, ValueError, "cure"),
        ({"alpha": -1.0}, ValueError, "alpha"),
        ({"scope": "token"}, ValueError, "scope"),
        ({"bias_update_speed": "fast"}, TypeError, "bias_update_speed"),
    ],
)
def test_bad_arguments_are_named(options, error, name):
    with pytest.raises(error, match=name):
        BalanceDashboard(config(), RandomBatches(), **options)


def test_configs_that_cannot_be_balanced_are_refused(dashboard_of):
    with pytest.raises(TypeError, match="config: got 'str'"):
        BalanceDashboard("mini", RandomBatches())
    with pytest.raises(ValueError, match="dense"):
        BalanceDashboard(make_model(n_routed_experts=0, n_shared_experts=0).config, RandomBatches())
    dashboard = dashboard_of(make_model().config)
    with pytest.raises(ValueError, match="which has no selection bias"):
        dashboard.cure = "bias"
    assert dashboard.cure == "none" and dashboard.view["has_bias"] is False
    with pytest.raises(RuntimeError, match="nothing has been started"):
        dashboard.wait(1)


def test_four_runs_are_shown_and_the_others_kept(dashboard_of):
    dashboard = dashboard_of(steps=1)
    for _ in range(5):
        dashboard.start()
        dashboard.wait(LONG)
    assert [run.name for run in dashboard.shown] == ["run 2", "run 3", "run 4", "run 5"]
    dashboard.show_runs([0, 4])
    assert [run.name for run in dashboard.shown] == ["run 1", "run 5"]
    dashboard.forget(4)
    assert [run.name for run in dashboard.runs] == ["run 1", "run 2", "run 3", "run 4"]
    for wrong in ([], [7], range(5), ["1"]):
        with pytest.raises((TypeError, ValueError), match="places"):
            dashboard.show_runs(wrong)
    with pytest.raises(ValueError, match="place: got 9"):
        dashboard.forget(9)


# The page


def test_the_page_gets_every_step_once_in_order(dashboard_of):
    dashboard = dashboard_of(steps=60)
    dashboard.start()
    dashboard.wait(LONG)
    run, held = dashboard.runs[0], []
    for message in dashboard.messages:
        assert message["run"] == "run 1" and message["start"] == len(held)
        held += message["rows"]
    assert [row["loss"] for row in held] == [round(loss, 4) for loss in run.column("loss")]
    for row, shares in zip(held, run.shares(), strict=True):
        assert torch.allclose(torch.tensor(row["load"]), shares.float(), atol=0.006)
    dashboard.messages.clear()
    dashboard.receive({"act": "hello"})
    assert [(m["start"], len(m["rows"])) for m in dashboard.messages] == [(0, 60)]


def test_updates_are_few_and_small(dashboard_of, monkeypatch):
    """However many steps there are in a second: the clock here stands still, so no message is
    due."""
    dashboard = dashboard_of(steps=50)
    dashboard.start()
    dashboard.wait(LONG, step=1)
    dashboard.pause()
    monkeypatch.setattr(
        "moe_lib.views.balance_dashboard.widget.time.monotonic", lambda: dashboard._last_update
    )
    dashboard.messages.clear()
    dashboard.resume()
    dashboard.wait(LONG)
    assert 1 <= len(dashboard.messages) <= 2, "going on, and the end"
    rows = [row for message in dashboard.messages for row in message["rows"]]
    assert len(json.dumps(rows)) < 250 * len(rows)


def test_messages_of_the_page_do_what_the_buttons_say(dashboard_of):
    dashboard = dashboard_of()

    def press(act, **more):
        dashboard.receive({"act": act, **more})

    press(
        "set",
        settings={"cure": "auxiliary", "alpha": 0.3, "scope": "batch", "seed": 7, "speed": 0.1},
    )
    assert (dashboard.cure, dashboard.alpha, dashboard.scope) == ("auxiliary", 0.3, "batch")
    assert dashboard.seed == 7 and dashboard.bias_update_speed == 0.1
    press("start")
    dashboard.wait(LONG, step=2)
    press("start")
    assert "run 1 is running" in dashboard.view["problem"]
    press("pause")
    until(lambda: dashboard.view["state"] == "paused" and dashboard.view["problem"] == "")
    press("set", settings={"alpha": ALPHAS[0]})
    press("resume")
    dashboard.wait(LONG, step=dashboard.training.steps_done + 2)
    press("stop")
    dashboard.wait(LONG)
    assert (
        dashboard.state == "stopped" and dashboard.runs[0].column("aux_loss_alpha")[-1] == ALPHAS[0]
    )
    for wrong in (
        {"act": "set", "settings": {"alpha": -1}},
        {"act": "set", "settings": {"seed": -1}},
        {"act": "show", "places": []},
        {"act": "forget", "place": 3},
    ):
        dashboard.receive(wrong)
        assert dashboard.view["problem"] != ""
    press("forget", place=0)
    assert dashboard.runs == [] and dashboard.view["runs"] == []


@pytest.mark.filterwarnings("error")
def test_picture_and_words_stand_beside_the_live_view(dashboard_of):
    dashboard = dashboard_of(steps=2)
    assert dashboard.png().startswith(b"\x89PNG")
    dashboard.start()
    dashboard.wait(LONG)
    data, metadata = dashboard._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(data)
    assert metadata["image/png"]["alt"] == dashboard.summary and "MaxVio" in dashboard.summary
    assert dashboard.png() == dashboard.png()

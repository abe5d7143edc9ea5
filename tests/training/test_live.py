"""A training in a thread: equal to a plain one, changed, paused and stopped in mid-run, its errors
told."""

import subprocess
import sys
import threading

import pytest
import torch

from moe_lib import train
from moe_lib.training.cure_settings import Cure, cure_words
from moe_lib.training.live import LiveTraining, fresh_model
from moe_lib.training.recorder import BalanceRecorder
from tests.training.small import RandomBatches, make_model

LONG = 120  # seconds until a test gives up; it waits for an event, never for this long

pytestmark = pytest.mark.usefixtures("one_thread")


def biased_model(seed=0, **changes):
    return make_model(
        seed, router="biased_topk", aux_loss_alpha=0.0, bias_update_speed=0.0, **changes
    )


@pytest.fixture
def live_of():
    """Makes LiveTrainings, and ends their threads whatever the test did."""
    made = []

    def make(model=None, batches=None, **options):
        made.append(LiveTraining(model or biased_model(), batches or RandomBatches(), **options))
        return made[-1]

    yield make
    for live in made:
        live.stop()


def test_the_same_weights_as_plain_training(live_of):
    live = live_of(steps=6)
    live.start()
    assert live.wait(LONG) and live.state == "finished" and live.steps_done == 6
    plain = train(biased_model(), RandomBatches(), steps=6, progress=False)
    assert live.result.history["loss"].tolist() == plain.history["loss"].tolist()
    for ours, theirs in zip(live.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_change_in_mid_run_holds_from_the_next_step_on(live_of):
    rows, biases = [], []

    def keep(report):
        rows.append(report.row)
        biases.append(
            torch.stack([layer.feed_forward.router.selection_bias for layer in live.model.layers])
        )

    live = live_of(steps=400, callback=keep)
    live.start()
    live.wait(LONG, step=5)
    live.pause()
    before = len(rows)
    live.change(aux_loss_alpha=0.25, bias_update_speed=0.5)
    assert live.model.config.aux_loss_alpha == 0 and live.settings["aux_loss_alpha"] == 0.25
    live.resume()
    live.wait(LONG, step=before + 3)
    live.stop()
    alphas = [row["aux_loss_alpha"] for row in rows]
    assert alphas == [0.0] * before + [0.25] * (len(rows) - before) and len(rows) >= before + 3
    assert all((row["balance_loss"] > 0) == (row["step"] >= before) for row in rows)
    assert biases[before - 1].abs().max() == 0 and biases[before].abs().max() == 0.5, (
        "one step of the new speed"
    )


def test_pause_holds_and_resume_goes_on(live_of):
    live = live_of(steps=400)
    live.start()
    live.wait(LONG, step=3)
    live.pause()
    held = live.steps_done
    assert live.state == "paused" and not threading.Event().wait(0.2) and live.steps_done == held
    with pytest.raises(RuntimeError, match="paused; start"):
        live.wait(1)
    live.resume()
    assert live.wait(LONG, step=held + 2) and live.state == "running"


@pytest.mark.parametrize("paused", [False, True])
def test_stop_ends_the_thread(live_of, paused):
    live = live_of(steps=10_000)
    live.start()
    live.wait(LONG, step=2)
    if paused:
        live.pause()
    live.stop()
    assert not live._thread.is_alive() and live.state == "stopped" and not live.alive
    assert len(live.result.history) == live.steps_done < 10_000
    live.stop(), live.pause(), live.resume()  # after the end: nothing to do
    assert live.state == "stopped" and live.wait(1)


def test_wait_gives_up_after_its_time_and_when_somebody_pauses(live_of):
    live = live_of(steps=10_000)
    with pytest.raises(RuntimeError, match="ready; start"):
        live.wait(1)
    live.start()
    assert live.wait(0.01) is False
    timer = threading.Timer(0.1, live.pause)
    timer.start()
    assert live.wait(LONG) is False and live.state == "paused"
    timer.join()


def test_a_run_starts_once(live_of):
    live = live_of(steps=3)
    live.start()
    with pytest.raises(RuntimeError, match="a run starts once"):
        live.start()
    live.wait(LONG)
    with pytest.raises(RuntimeError, match="finished after 3 of 3 steps"):
        live.start()


class BrokenBatches(RandomBatches):
    def at(self, step):
        if step == 3:
            raise OSError("the disk has gone")
        return super().at(step)


def test_an_error_is_kept_and_raised_to_whoever_waits(live_of):
    states = []
    live = live_of(batches=BrokenBatches(), steps=9, on_change=lambda: states.append(live.state))
    live.start()
    with pytest.raises(OSError, match="disk"):
        live.wait(LONG)
    assert live.state == "failed" and live.steps_done == 3 and isinstance(live.error, OSError)
    assert states[-1] == "failed" and not live._thread.is_alive()
    with pytest.raises(OSError):
        live.wait()


def test_bad_options_fail_the_run_and_bad_changes_are_refused(live_of):
    live = live_of(steps=2, learning_rate=-1.0)
    live.start()
    with pytest.raises(ValueError, match="learning_rate"):
        live.wait(LONG)
    other = live_of(steps=2)
    for settings, error, name in (
        ({"hidden_size": 8}, ValueError, "settings: got 'hidden_size'"),
        ({"aux_loss_alpha": -1.0}, ValueError, "aux_loss_alpha"),
        ({"importance_loss_alpha": 1.0}, ValueError, "importance_loss_alpha"),
    ):
        with pytest.raises(error, match=name):
            other.change(**settings)
    assert other.settings["aux_loss_alpha"] == 0
    with pytest.raises(TypeError, match="model: got 3"):
        LiveTraining(3, RandomBatches(), steps=1)


def test_the_callback_can_stop_the_run(live_of):
    live = live_of(steps=50, callback=lambda report: report.row["step"] == 4)
    live.start()
    live.wait(LONG)
    assert live.state == "stopped" and live.steps_done == 5


def test_python_exits_while_a_training_runs():
    code = (
        "from tests.training.test_live import *\n"
        "live = LiveTraining(biased_model(), RandomBatches(), steps=10**6)\n"
        "live.start(); live.wait(30, step=2); print(live.state)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == "running\n" and done.stderr == ""


def test_a_fresh_model_draws_nothing_from_outside():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = (fresh_model(biased_model().config, seed) for seed in (1, 2))
    torch.manual_seed(5)
    fresh_model(one.config, 1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.head.weight, fresh_model(one.config, 1).head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


# The recorder: a plain callback


def test_the_recorder_keeps_what_train_reports():
    reports = []
    recorder = BalanceRecorder("mine", [3, 4], steps=5)

    def both(report):
        reports.append(report)
        return recorder(report)

    run = train(biased_model(), RandomBatches(), steps=5, progress=False, callback=both)
    assert (
        not run.interrupted
        and recorder.n_steps == 5
        and recorder.n_experts == 4
        and recorder.k == 2
    )
    assert recorder.column("loss") == run.history["loss"].tolist() and recorder.layer_numbers == [
        3,
        4,
    ]
    tokens = 8 * 12
    for step, report in enumerate(reports):
        for layer, load in enumerate(report.loads):
            assert (
                recorder.loads()[step, layer].tolist() == load.tolist() and load.sum() == 2 * tokens
            )
            by_hand = [4 * count / (2 * tokens) for count in load.tolist()]
            assert recorder.shares()[step, layer].tolist() == pytest.approx(by_hand)
            assert recorder.max_violation[step][layer] == pytest.approx(max(by_hand) - 1)
    assert recorder.loads(3).shape == (2, 2, 4) and recorder.loads(5).shape[0] == 0
    assert max(recorder.max_violation[-1]) == pytest.approx(run.history["max_violation"].iloc[-1])


def test_an_empty_recorder_is_a_callback_all_the_same():
    recorder = BalanceRecorder()
    train(biased_model(), RandomBatches(), steps=1, progress=False, callback=recorder)
    assert recorder.n_steps == 1 and recorder.layer_numbers == [0, 1]


def test_a_dense_model_has_no_balance_to_record():
    model = make_model(n_routed_experts=0, n_shared_experts=0)
    with pytest.raises(ValueError, match="dense model has no balance"):
        train(model, RandomBatches(), steps=1, progress=False, callback=BalanceRecorder())


# Cures


def test_a_cure_as_fields_of_a_config():
    config = biased_model().config
    assert Cure().fields(config) == {
        "aux_loss_alpha": 0.0,
        "seq_aux": True,
        "bias_update_speed": 0.0,
    }
    assert Cure("auxiliary", 0.3, "batch").fields(config) == {
        "aux_loss_alpha": 0.3,
        "seq_aux": False,
        "bias_update_speed": 0.0,
    }
    assert Cure("bias", bias_update_speed=0.2).fields(config)["bias_update_speed"] == 0.2
    assert "bias_update_speed" not in Cure("auxiliary").fields(make_model().config)
    assert (
        cure_words(Cure("auxiliary", 0.3, "batch").fields(config)) == "auxiliary loss 0.3 per batch"
    )
    assert cure_words(Cure().fields(config)) == "no cure"


@pytest.mark.parametrize(
    ("settings", "error", "name"),
    [
        ({"kind": "magic"}, ValueError, "cure: got 'magic'"),
        ({"alpha": -1}, ValueError, "alpha"),
        ({"alpha": True}, TypeError, "alpha"),
        ({"bias_update_speed": float("nan")}, ValueError, "bias_update_speed"),
        ({"scope": "layer"}, ValueError, "scope"),
    ],
)
def test_bad_settings_are_named(settings, error, name):
    with pytest.raises(error, match=name):
        Cure(**settings)


def test_a_cure_that_the_router_cannot_take_is_refused():
    with pytest.raises(ValueError, match="which has no selection bias"):
        Cure("bias").fields(make_model().config)
    with pytest.raises(ValueError, match="aux_loss_alpha"):
        Cure("auxiliary").fields(make_model(router="hash").config)

"""A run that is killed or interrupted goes on, and ends with the weights it would have had."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from moe_lib import train
from tests.training.small import RandomBatches, make_model, weights_of

STEPS = 60
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def uninterrupted():
    return weights_of(train(make_model(), RandomBatches(), steps=STEPS, progress=False).model)


def test_kill_at_any_moment_and_resume_bit_for_bit(tmp_path, uninterrupted):
    """Three kills without warning, each at another moment; then the run is finished here."""
    for delay in (0.0, 0.05, 0.11):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.killed_run", str(tmp_path), str(STEPS)],
            cwd=REPOSITORY,
        )
        deadline = time.monotonic() + 60
        state = tmp_path / "training_state.safetensors"
        before = state.stat().st_mtime_ns if state.exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            if state.exists() and state.stat().st_mtime_ns != before:
                break
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        process.wait()
    run = train(
        make_model(seed=9),
        RandomBatches(),
        steps=STEPS,
        folder=tmp_path,
        save_every=3,
        progress=False,
    )
    assert torch.equal(weights_of(run.model), uninterrupted)
    assert run.history["step"].tolist() == list(range(STEPS))


def test_stop_by_callback_and_resume_bit_for_bit(tmp_path, uninterrupted):
    stopped = train(
        make_model(),
        RandomBatches(),
        steps=STEPS,
        folder=tmp_path,
        progress=False,
        callback=lambda report: report.row["step"] == 16,
    )
    assert stopped.interrupted and len(stopped.history) == 17
    assert not torch.equal(weights_of(stopped.model), uninterrupted)
    resumed = train(
        make_model(seed=5), RandomBatches(), steps=STEPS, folder=tmp_path, progress=False
    )
    assert not resumed.interrupted and torch.equal(weights_of(resumed.model), uninterrupted)


@pytest.mark.skipif(os.name == "nt", reason="os.kill with SIGINT ends the whole console on Windows")
def test_interrupt_finishes_the_step_and_keeps_what_was_trained(tmp_path):
    def interrupt(report):
        if report.row["step"] == 7:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    run = train(
        make_model(), RandomBatches(), steps=40, folder=tmp_path, progress=False, callback=interrupt
    )
    assert run.interrupted and len(run.history) in (8, 9)
    assert signal.getsignal(signal.SIGINT) is handler
    steps_done = len(run.history)
    reference = train(
        make_model(),
        RandomBatches(),
        steps=40,
        progress=False,
        callback=lambda report: report.row["step"] == steps_done - 1,
    )
    assert torch.equal(weights_of(run.model), weights_of(reference.model))


def test_other_thread_trains_too():
    results = []
    thread = threading.Thread(
        target=lambda: results.append(train(make_model(), RandomBatches(), steps=3, progress=False))
    )
    thread.start()
    thread.join()
    assert len(results[0].history) == 3


def test_other_settings_and_damaged_states_are_refused(tmp_path):
    train(make_model(), RandomBatches(), steps=4, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"other settings \(steps was 4, is 6\)"):
        train(make_model(), RandomBatches(), steps=6, folder=tmp_path, progress=False)
    assert (
        len(
            train(
                make_model(),
                RandomBatches(),
                steps=6,
                folder=tmp_path,
                resume=False,
                progress=False,
            ).history
        )
        == 6
    )
    state = tmp_path / "training_state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(
        ValueError, match="training_state.safetensors: not a complete safetensors file"
    ):
        train(make_model(), RandomBatches(), steps=6, folder=tmp_path, progress=False)

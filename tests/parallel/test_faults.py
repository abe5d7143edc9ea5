"""A rank that is killed, fails, or never comes: one line on every other rank, nothing left, and the
run goes on from its last state."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from moe_lib import save_checkpoint, train
from moe_lib.parallel import RankLost, launch, load_distributed
from tests.parallel.workers import OF_SIX, alone_in_vain, killed, opened, sleeps
from tests.training.small import RandomBatches, make_model, weights_of

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(os.name == "nt", reason="signals and torchrun as Unix has them"),
]
REPOSITORY = Path(__file__).parents[2]
STEPS = 6


def lines(printed):
    return [line for line in printed.split("\n") if line.startswith("rank ")]


def test_a_rank_is_killed_under_torchrun_and_the_run_goes_on(tmp_path):
    """torchrun starts `train` with experts on two ranks, rank 1 is killed in step 3; one process
    then ends the run as it would have ended."""
    script = "from tests.parallel.workers import killed; import sys; "
    script += f"killed(sys.argv[1], {STEPS}, at=3)"
    path = tmp_path / "run.py"
    path.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    where = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    where += ["--local-addr", "127.0.0.1"]
    folder = tmp_path / "state"
    done = subprocess.run(
        [*command, *where, str(path), str(folder)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "MOE_LIB_LOOPBACK": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    said = f"rank 0 of 2: rank 1 of 2 is gone.*; the same call goes on from the state in {folder}"
    assert [bool(re.fullmatch(said, line)) for line in lines(done.stderr)] == [True], done.stderr
    assert "Error" not in done.stderr.split("rank 0 of 2:")[0]  # no traceback of ours before it

    how = dict(steps=STEPS, progress=False)
    resumed = train(make_model(seed=7), RandomBatches(), **how, folder=folder)
    whole = train(make_model(), RandomBatches(), **how)
    assert resumed.history["step"].tolist() == list(range(STEPS))
    torch.testing.assert_close(
        weights_of(resumed.model), weights_of(whole.model), atol=1e-6, rtol=0
    )


def test_an_error_of_one_rank_is_said_by_the_others(tmp_path):
    given = dict(folder=str(tmp_path), steps=STEPS, at=1, by=None)
    first, second = launch(killed, 2, given, may_fail=True, timeout=120)
    assert first.code != 0 and second.code != 0
    said = "rank 0 of 2: rank 1 stopped: KeyError: 'a callback of one rank\\nwith a bug'; the same"
    assert len(lines(first.printed)) == 1 and lines(first.printed)[0].startswith(said)
    assert "Traceback" not in first.printed and "Traceback" in second.printed  # who has the bug


def test_all_others_say_who_is_gone_and_end_by_themselves(tmp_path):
    given = dict(folder=str(tmp_path), steps=STEPS, at=3)
    done = launch(killed, 4, given, may_fail=True, timeout=200)
    assert [one.code for one in done] == [1, -signal.SIGKILL, 1, 1]
    for rank in (0, 2, 3):
        (line,) = lines(done[rank].printed)
        assert line.startswith(f"rank {rank} of 4: rank 1 of 4 is gone"), line


def test_a_rank_that_falls_silent(tmp_path):
    """Stopped, not ended: its connection stays open, and the limit of `join` decides."""
    given = dict(folder=str(tmp_path), steps=STEPS, at=1, by=int(signal.SIGSTOP), timeout=6)
    first, second = launch(killed, 2, given, may_fail=True, timeout=200)
    (line,) = lines(first.printed)
    assert line.startswith("rank 0 of 2: rank 1 of 2 does not answer"), line
    assert second.code == -signal.SIGKILL  # the launch has ended it


def test_a_rank_that_never_comes():
    started = time.monotonic()
    (only,) = launch(alone_in_vain, 3, dict(timeout=1.5), missing=(1, 2), may_fail=True)
    assert lines(only.printed) == ["rank 0 of 3: ranks 1, 2 of 3 did not come within 1.5 s"]
    assert "Traceback" not in only.printed and only.code == 1
    assert time.monotonic() - started < 120  # it ends by itself, not by the launch's limit
    with pytest.raises(
        RankLost, match="rank 0 of 2 ended with 1: rank 0 of 2: rank 1 of 2 did not"
    ):
        launch(alone_in_vain, 2, dict(timeout=0.5), missing=(1,))


def test_a_distributed_checkpoint_of_two_ranks_opens_on_one_and_on_three(on_two, folder):
    model = load_distributed(make_model(seed=5, **OF_SIX), folder / "two")
    saved = weights_of(make_model(seed=3, **OF_SIX))
    assert torch.equal(weights_of(model), saved)
    three = launch(opened, 3, dict(folder=str(folder)), timeout=300)
    assert all(torch.equal(torch.tensor(one.result), saved) for one in three)
    assert len(list((folder / "two").glob("*.safetensors"))) == 2


def test_damaged_and_foreign_distributed_checkpoints_are_refused(on_two, folder, tmp_path):
    with pytest.raises(ValueError, match="hidden_size was 16, is 32"):
        load_distributed(make_model(**OF_SIX, hidden_size=32), folder / "two")
    broken = shutil.copytree(folder / "two", tmp_path / "broken")
    sorted(broken.glob("*.safetensors"))[1].unlink()
    with pytest.raises(ValueError, match="broken: cannot be read .*Size mismatch"):
        load_distributed(make_model(**OF_SIX), broken)
    (left,) = broken.glob("*.safetensors")
    left.write_bytes(left.read_bytes()[:500])
    with pytest.raises(ValueError, match=f"{left.name}: not a complete safetensors file"):
        load_distributed(make_model(**OF_SIX), broken)
    left.unlink()
    for missing in (broken, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=str(missing)):
            load_distributed(make_model(**OF_SIX), missing)
    with pytest.raises(ValueError, match="config.json: not a distributed checkpoint"):
        load_distributed(make_model(), save_checkpoint(make_model(), tmp_path / "ordinary"))


def test_a_launch_that_takes_too_long_leaves_nothing_behind():
    started = time.monotonic()
    with pytest.raises(RankLost, match="not done within 2 s"):
        launch(sleeps, 1, dict(seconds=600), timeout=2.0)
    assert time.monotonic() - started < 60  # not 600

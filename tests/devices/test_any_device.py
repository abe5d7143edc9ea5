"""Everything that runs on a CPU runs on another device, and comes to the same."""

import subprocess
import sys

import pytest
import torch

from moe_lib.files import read_tensors
from moe_lib.paths import REPOSITORY
from tests.devices.scenes import SCENES, play


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The folder with what the scenes gave on the pretend device, in a process of their own."""
    folder = tmp_path_factory.mktemp("pretend")
    command = [sys.executable, "-m", "tests.devices.scenes", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_on_another_device_gives_what_it_gives_on_the_cpu(name, elsewhere):
    error = elsewhere / f"{name}.error"
    assert not error.is_file(), error.read_text(encoding="utf-8")[-3000:]
    there, _ = read_tensors(elsewhere / f"{name}.safetensors")
    here = play(name, torch.device("cpu"))
    assert there.keys() == here.keys()
    for key, value in here.items():
        torch.testing.assert_close(there[key], value, rtol=1e-4, atol=1e-5, msg=f"{name}: {key}")

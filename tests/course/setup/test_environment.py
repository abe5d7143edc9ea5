"""Making, repairing and refusing to make the environment, with a pip and a venv that are made
up."""

import errno
import subprocess
import sys
import threading
from collections import namedtuple

import pytest

from moe_course.setup import environment, install
from moe_course.setup.environment import (
    READY,
    REMAKE,
    UPDATE,
    ensure_environment,
    judge,
    wanted_stamp,
)
from moe_course.setup.errors import SetupError
from moe_course.setup.install import Outcome
from moe_course.setup.lock import only_one
from moe_course.setup.places import environment_python
from moe_course.setup.stamp import Stamp, is_unfinished, mark_unfinished, read_stamp, write_stamp

Usage = namedtuple("Usage", "total used free")


class Machine:
    """Stands for venv and pip. `fail` is called in pip's place; `log` notes what was done."""

    def __init__(self, monkeypatch):
        self.log = []
        self.fail = lambda root, venv: Outcome()
        self.works = True
        self.free = 10**12
        monkeypatch.setattr(environment, "make_venv", self._make_venv)
        monkeypatch.setattr(environment, "run_pip", self._run_pip)
        monkeypatch.setattr(environment, "python_works", lambda venv: self.works)
        monkeypatch.setattr(environment, "check_imports", lambda venv: self.log.append("imports"))
        monkeypatch.setattr(
            environment.shutil, "disk_usage", lambda folder: Usage(10**12, 0, self.free)
        )

    def _make_venv(self, venv):
        self.log.append("venv")
        (venv / "pyvenv.cfg").write_text("home = x\n", encoding="utf-8")

    def _run_pip(self, root, venv):
        self.log.append("pip")
        return self.fail(root, venv)


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def quiet(text):
    pass


def test_first_start_makes_everything_and_the_second_nothing(root, machine):
    assert ensure_environment(root, quiet) == environment_python(root / ".venv")
    assert machine.log == ["venv", "pip", "imports"]
    assert judge(root / ".venv", wanted_stamp(root)).action == READY
    machine.log.clear()
    ensure_environment(root, quiet)
    assert machine.log == []


def test_changed_requirements_are_installed_into_what_is_there(root, machine):
    ensure_environment(root, quiet)
    machine.log.clear()
    (root / "requirements.txt").write_text("torch==2.13.0\ntqdm\n", encoding="utf-8")
    ensure_environment(root, quiet)
    assert machine.log == ["pip", "imports"]


def test_an_environment_made_by_hand_is_kept_and_completed(root, machine):
    (root / ".venv").mkdir()
    (root / ".venv" / "mine.txt").write_text("x", encoding="utf-8")
    ensure_environment(root, quiet)
    assert machine.log == ["pip", "imports"]
    assert (root / ".venv" / "mine.txt").exists()


@pytest.mark.parametrize("blow", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_installation_is_made_again(root, machine, blow):
    def stop(root, venv):
        (venv / "half a package").write_text("x", encoding="utf-8")
        raise blow

    machine.fail = stop
    with pytest.raises(blow):
        ensure_environment(root, quiet)
    assert is_unfinished(root / ".venv")
    assert read_stamp(root / ".venv") is None

    machine.fail = lambda root, venv: Outcome()
    machine.log.clear()
    ensure_environment(root, quiet)
    assert machine.log == ["venv", "pip", "imports"]
    assert not (root / ".venv" / "half a package").exists()
    assert not is_unfinished(root / ".venv")


def test_an_update_killed_halfway_is_not_taken_for_complete(root, machine):
    venv = root / ".venv"
    ensure_environment(root, quiet)
    mark_unfinished(venv)
    assert judge(venv, wanted_stamp(root)).action == REMAKE


def test_without_network_nothing_is_thrown_away(root, machine):
    machine.fail = lambda root, venv: Outcome(SetupError("No network"), nothing_changed=True)
    with pytest.raises(SetupError, match="No network"):
        ensure_environment(root, quiet)
    assert judge(root / ".venv", wanted_stamp(root)).action == UPDATE


def test_a_failure_while_unpacking_means_starting_afresh(root, machine):
    machine.fail = lambda root, venv: Outcome(SetupError("disk full"), nothing_changed=False)
    with pytest.raises(SetupError):
        ensure_environment(root, quiet)
    assert judge(root / ".venv", wanted_stamp(root)).action == REMAKE


@pytest.mark.parametrize("field, value", [("python", "3.10"), ("root", "another folder")])
def test_moved_or_of_another_python(root, machine, field, value):
    ensure_environment(root, quiet)
    wanted = wanted_stamp(root)
    write_stamp(root / ".venv", Stamp(**{**wanted.__dict__, field: value}))
    assert judge(root / ".venv", wanted).action == REMAKE


def test_an_environment_whose_python_is_gone_is_made_again(root, machine):
    ensure_environment(root, quiet)
    machine.works = False
    assert judge(root / ".venv", wanted_stamp(root)).action == REMAKE


def test_a_python_that_does_not_exist_does_not_work(tmp_path):
    assert environment.python_works(tmp_path / "no such environment") is False


def test_full_disk_is_said_before_anything_is_made(root, machine):
    machine.free = 10**8
    with pytest.raises(SetupError, match=r"too full: .* 0\.1 GB free .* 4 GB"):
        ensure_environment(root, quiet)
    assert machine.log == []
    assert not (root / ".venv").exists()


def test_disk_running_full_is_one_line(root, machine):
    def full(root, venv):
        raise OSError(errno.ENOSPC, "No space left on device")

    machine.fail = full
    with pytest.raises(SetupError, match="ran full") as caught:
        ensure_environment(root, quiet)
    assert "\n" not in str(caught.value)
    assert judge(root / ".venv", wanted_stamp(root)).action == REMAKE


def test_missing_ensurepip_names_the_debian_package(root, machine, monkeypatch):
    real = environment.importlib.util.find_spec
    monkeypatch.setattr(
        environment.importlib.util,
        "find_spec",
        lambda name: None if name == "ensurepip" else real(name),
    )
    with pytest.raises(SetupError, match="apt install python3-venv"):
        ensure_environment(root, quiet)
    assert machine.log == []


def test_a_venv_module_that_fails_names_the_debian_package(root, monkeypatch):
    said = (
        "The virtual environment was not created successfully because ensurepip is not available.\n"
    )
    failed = subprocess.CompletedProcess([], 1, stdout=said)
    monkeypatch.setattr(environment.subprocess, "run", lambda *args, **kwargs: failed)
    (root / ".venv").mkdir()
    with pytest.raises(SetupError, match="apt install python3-venv"):
        environment.make_venv(root / ".venv")


def test_the_environments_own_python_cannot_make_it_again(root, monkeypatch):
    (root / ".venv").mkdir()
    monkeypatch.setattr(sys, "prefix", str(root / ".venv"))
    with pytest.raises(SetupError, match="deactivate"):
        environment.check_not_inside(root / ".venv")


def test_a_link_in_place_of_the_environment_is_removed_and_its_target_kept(tmp_path):
    target = tmp_path / "elsewhere"
    target.mkdir()
    link = tmp_path / ".venv"
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let us make links")
    environment.remove(link)
    assert target.exists() and not link.is_symlink()


def test_a_second_start_waits_for_the_first(tmp_path):
    said, order = [], []

    def second():
        with only_one(tmp_path / "lock", said.append, pause=0.01):
            order.append("second")

    with only_one(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]
    assert "waiting" in said[0]


FAKE_PIP = """
print("Collecting torch==2.13.0")
print("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
raise SystemExit(1)
"""


def test_pips_output_is_followed_explained_and_logged(root, monkeypatch):
    (root / ".venv").mkdir()
    monkeypatch.setattr(install, "pip_version", lambda venv: (26, 0))
    monkeypatch.setattr(
        install, "pip_command", lambda venv, version: [sys.executable, "-c", FAKE_PIP]
    )
    outcome = install.run_pip(root, root / ".venv")
    assert "ran full" in str(outcome.failure)
    assert outcome.nothing_changed is False
    assert "Collecting torch" in (root / ".venv" / "install.log").read_text(encoding="utf-8")

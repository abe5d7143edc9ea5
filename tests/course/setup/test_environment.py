"""Making, repairing and refusing to make the environment, with a pip and a venv that are made
up."""

import errno
import sys
import threading
from collections import namedtuple

import pytest

from moe_course.setup import environment
from moe_course.setup.environment import (
    READY,
    REMAKE,
    UNFINISHED,
    UPDATE,
    ensure_environment,
    judge,
    only_one,
    read_stamp,
    wanted_stamp,
)
from moe_course.setup.failures import SetupError
from moe_course.setup.folders import environment_python
from moe_course.setup.install import LiveLine

Usage = namedtuple("Usage", "total used free")


def failing(text, unchanged=False):
    """An installer that fails with `text`."""

    def fail(venv):
        error = SetupError(text)
        error.unchanged = unchanged
        raise error

    return fail


class Machine:
    """Stands for venv and the installer. `act` is called in the installer's place; `log` notes what
    was done."""

    def __init__(self, monkeypatch):
        self.log = []
        self.act = lambda venv: None
        self.works = True
        self.free = 10**12
        monkeypatch.setattr(environment, "make_venv", self._make_venv)
        monkeypatch.setattr(environment, "install", self._install)
        monkeypatch.setattr(environment, "python_works", lambda venv: self.works)
        monkeypatch.setattr(
            environment, "check_imports", lambda venv, line: self.log.append("imports")
        )
        monkeypatch.setattr(
            environment.shutil, "disk_usage", lambda folder: Usage(10**12, 0, self.free)
        )

    def _make_venv(self, venv, line):
        self.log.append("venv")
        (venv / "pyvenv.cfg").write_text("home = x\n", encoding="utf-8")

    def _install(self, venv, line, announce):
        self.log.append("install")
        self.act(venv)


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def quiet(text):
    pass


def test_first_start_makes_everything_and_the_second_nothing(root, machine):
    assert ensure_environment(root, quiet) == environment_python(root / ".venv")
    assert machine.log == ["venv", "install", "imports"]
    assert judge(root / ".venv", wanted_stamp(root))[0] == READY
    machine.log.clear()
    ensure_environment(root, quiet)
    assert machine.log == []


def test_changed_requirements_are_installed_into_what_is_there(root, machine):
    ensure_environment(root, quiet)
    machine.log.clear()
    (root / "requirements.txt").write_text("torch==2.13.0\ntqdm\n", encoding="utf-8")
    ensure_environment(root, quiet)
    assert machine.log == ["install", "imports"]


def test_an_environment_made_by_hand_is_kept_and_completed(root, machine):
    (root / ".venv").mkdir()
    (root / ".venv" / "mine.txt").write_text("x", encoding="utf-8")
    ensure_environment(root, quiet)
    assert machine.log == ["install", "imports"]
    assert (root / ".venv" / "mine.txt").exists()


@pytest.mark.parametrize("blow", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_installation_is_made_again(root, machine, blow):
    def stop(venv):
        (venv / "half a package").write_text("x", encoding="utf-8")
        raise blow

    machine.act = stop
    with pytest.raises(blow):
        ensure_environment(root, quiet)
    assert (root / ".venv" / UNFINISHED).exists()
    assert read_stamp(root / ".venv") is None

    machine.act = lambda venv: None
    machine.log.clear()
    ensure_environment(root, quiet)
    assert machine.log == ["venv", "install", "imports"]
    assert not (root / ".venv" / "half a package").exists()
    assert not (root / ".venv" / UNFINISHED).exists()


def test_an_update_killed_halfway_is_not_taken_for_complete(root, machine):
    venv = root / ".venv"
    ensure_environment(root, quiet)
    (venv / UNFINISHED).write_text("x", encoding="utf-8")
    assert judge(venv, wanted_stamp(root))[0] == REMAKE


def test_without_network_nothing_is_thrown_away(root, machine):
    machine.act = failing("No network", unchanged=True)
    with pytest.raises(SetupError, match="No network"):
        ensure_environment(root, quiet)
    assert judge(root / ".venv", wanted_stamp(root))[0] == UPDATE


def test_a_failure_while_unpacking_means_starting_afresh(root, machine):
    machine.act = failing("disk full")
    with pytest.raises(SetupError):
        ensure_environment(root, quiet)
    assert judge(root / ".venv", wanted_stamp(root))[0] == REMAKE


@pytest.mark.parametrize("place, value", [(1, "3.10"), (2, "another folder")])
def test_moved_or_of_another_python(root, machine, place, value):
    ensure_environment(root, quiet)
    wanted = wanted_stamp(root)
    wanted[place] = value
    assert judge(root / ".venv", wanted)[0] == REMAKE


def test_an_environment_whose_python_is_gone_is_made_again(root, machine):
    ensure_environment(root, quiet)
    machine.works = False
    assert judge(root / ".venv", wanted_stamp(root))[0] == REMAKE


def test_a_python_that_does_not_exist_does_not_work(tmp_path):
    assert environment.python_works(tmp_path / "no such environment") is False


def test_full_disk_is_said_before_anything_is_made(root, machine):
    machine.free = 10**8
    with pytest.raises(SetupError, match=r"too full: .* 0\.1 GB free .* 4 GB"):
        ensure_environment(root, quiet)
    assert machine.log == []
    assert not (root / ".venv").exists()


def test_disk_running_full_is_one_line(root, machine):
    def full(venv):
        raise OSError(errno.ENOSPC, "No space left on device")

    machine.act = full
    with pytest.raises(SetupError, match="ran full") as caught:
        ensure_environment(root, quiet)
    assert "\n" not in str(caught.value)
    assert judge(root / ".venv", wanted_stamp(root))[0] == REMAKE


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
    monkeypatch.setattr(environment, "follow", lambda *args: (1, said))
    (root / ".venv").mkdir()
    with pytest.raises(SetupError, match="apt install python3-venv"):
        environment.make_venv(root / ".venv", LiveLine())


def test_the_environments_own_python_cannot_make_it_again(root, monkeypatch):
    (root / ".venv").mkdir()
    monkeypatch.setattr(sys, "prefix", str(root / ".venv"))
    with pytest.raises(SetupError, match="deactivate"):
        environment.check_can_make(root / ".venv")


def test_a_link_in_place_of_the_environment_is_removed_and_its_target_kept(root, machine):
    target = root / "elsewhere"
    target.mkdir()
    (target / "mine.txt").write_text("x", encoding="utf-8")
    link = root / ".venv"
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let us make links")
    machine.works = False
    ensure_environment(root, quiet)
    assert (target / "mine.txt").exists() and link.is_dir() and not link.is_symlink()


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

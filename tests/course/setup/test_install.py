"""uv installs what pip is configured for; pip steps in; what they say is followed and explained."""

import io
import json
import os
import subprocess
import sys

import pytest

from moe_course.setup.failures import SetupError
from moe_course.setup.install import LiveLine, follow, install, pip_settings, uv_settings

LISTING = r"""
:env:.cert='/certs/all.pem'
:env:.default-timeout='180'
:env:.find-links='/wheels /more wheels'
global.cert='/certs/other.pem'
global.constraint='/etc/constraints.txt'
global.extra-index-url='\nfile:///one/simple\nhttps://u:p@two/simple'
global.index-url='https://main/simple'
install.index-url='https://better/simple'
install.no-binary='numpy,torch'
global.trusted-host='two'
freeze.user='true'
WARNING: not a setting
"""


def test_pips_settings_override_one_another_as_in_pip():
    settings = pip_settings(LISTING)
    assert settings["cert"] == "/certs/all.pem"
    assert settings["index-url"] == "https://better/simple"
    assert "user" not in settings


def test_uv_gets_pips_settings():
    options, variables = uv_settings(pip_settings(LISTING))
    assert options == [
        *("--index-strategy", "unsafe-best-match", "--index-url=https://better/simple"),
        *("--extra-index-url=file:///one/simple", "--extra-index-url=https://u:p@two/simple"),
        *("--find-links=/wheels", "--find-links=/more", "--find-links=wheels"),
        *("--constraint=/etc/constraints.txt", "--trusted-host=two"),
        *("--no-binary=numpy", "--no-binary=torch"),
    ]
    assert variables == {"SSL_CERT_FILE": "/certs/all.pem", "UV_HTTP_TIMEOUT": "180"}


@pytest.mark.parametrize("value, given", [("1", True), ("true", True), ("0", False), ("no", False)])
def test_settings_that_are_on_or_off(value, given):
    options, _ = uv_settings({"no-index": value})
    assert ("--no-index" in options) is given


def test_real_uv_knows_the_options():
    everything = {
        **{"index-url": "https://a/simple", "extra-index-url": "https://b/simple"},
        **{"find-links": "/", "constraint": os.devnull, "trusted-host": "b", "no-index": "1"},
        **{"no-binary": "x", "only-binary": "y", "no-cache-dir": "1", "pre": "1"},
    }
    options, _ = uv_settings(everything)
    command = [sys.executable, "-m", "uv", "pip", "install", "--offline", "--dry-run", *options]
    run = subprocess.run([*command, "-r", os.devnull], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


FAKE_PYTHON = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path(__file__).resolve().parent
arguments = sys.argv[1:]
with open(here / "calls.jsonl", "a") as file:
    file.write(json.dumps([arguments, os.environ.get("UV_HTTP_TIMEOUT")]) + chr(10))
plan = json.loads((here / "plan.json").read_text())
kind = "config" if "config" in arguments else arguments[1]
kind = "get uv" if arguments[-1] == "uv" and kind == "pip" else kind
said, code = plan.get(kind, ["", 0])
if kind in ("pip", "uv") and code == 0:
    (here.parent / "lib/python3.11/site-packages/torch").mkdir(parents=True)
print(said, flush=True)
sys.exit(code)
"""


@pytest.fixture
def fake(root):
    """fake({kind: (what it says, exit code)}) makes a .venv whose Python plays pip and uv; calls()
    are the kinds and arguments that were asked for."""
    if os.name == "nt":
        pytest.skip("the fake Python is a script")
    venv = root / ".venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text(FAKE_PYTHON.format(python=sys.executable), encoding="utf-8")
    python.chmod(0o755)

    def make(**plan):
        plan = {name.replace("_", " "): value for name, value in plan.items()}
        (venv / "bin" / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        return venv

    return make


def calls(venv):
    lines = (venv / "bin" / "calls.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


NO_NETWORK = ("error: dns error: Temporary failure in name resolution", 2)


def test_uv_is_fetched_with_pip_and_installs_from_pips_indexes(fake):
    settings = "global.extra-index-url='https://two/simple'\n:env:.timeout='7'"
    venv = fake(config=(settings, 0), uv=("Installed 2 packages", 0))
    install(venv, LiveLine(io.StringIO()), pytest.fail)
    (get, _), _, (uv, timeout) = calls(venv)
    assert get[:3] == ["-m", "pip", "install"] and get[-3:] == ["-c", "constraints.txt", "uv"]
    assert uv[:4] == ["-m", "uv", "pip", "install"] and uv[-2:] == ["-r", "requirements.txt"]
    assert "--extra-index-url=https://two/simple" in uv and timeout == "7"
    assert "Installed 2 packages" in (venv / "install.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "plan, steps",
    [
        ({"get_uv": ("ERROR: No matching distribution found for uv", 1)}, 2),
        ({"uv": ("error: invalid peer certificate: UnknownIssuer", 2)}, 4),
    ],
)
def test_without_uv_pip_installs_and_says_so(fake, plan, steps):
    venv, said = fake(**plan), []
    install(venv, LiveLine(io.StringIO()), said.append)
    assert len(calls(venv)) == steps
    assert calls(venv)[-1][0][:3] == ["-m", "pip", "install"]
    assert calls(venv)[-1][0][-2:] == ["-r", "requirements.txt"]
    (line,) = said
    assert "pip installs" in line and "\n" not in line


@pytest.mark.parametrize("where, steps", [("get_uv", 1), ("uv", 3)])
def test_without_a_network_pip_is_not_tried_as_well(fake, where, steps):
    venv = fake(**{where: NO_NETWORK})
    with pytest.raises(SetupError, match="No network") as caught:
        install(venv, LiveLine(io.StringIO()))
    assert caught.value.unchanged is True
    assert len(calls(venv)) == steps


def test_a_disk_that_runs_full_has_changed_something(fake):
    venv = fake(uv=("error: failed to copy: No space left on device (os error 28)", 2))
    with pytest.raises(SetupError, match="ran full") as caught:
        install(venv, LiveLine(io.StringIO()))
    assert caught.value.unchanged is False


def test_what_both_cannot_do_is_told_in_pips_words(fake):
    venv = fake(uv=("x No solution found", 1), pip=("ERROR: No matching distribution: torch", 1))
    with pytest.raises(SetupError, match="No matching distribution: torch") as caught:
        install(venv, LiveLine(io.StringIO()), lambda text: None)
    assert "\n" not in str(caught.value) and "install.log" in str(caught.value)


def test_an_interrupted_command_does_not_go_on(root, monkeypatch):
    (root / ".venv").mkdir()
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **more):
            super().__init__(*args, **more)
            started.append(self)
            self.stdout = self._interrupted(self.stdout)

        def _interrupted(self, stream):
            yield stream.readline()
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Popen)
    code = "import time; print('begun', flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        follow([sys.executable, "-c", code], root / ".venv", LiveLine(io.StringIO()))
    assert started[0].poll() is not None

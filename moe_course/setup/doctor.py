"""`course.py doctor`: what is there, and what to do about what is missing.

What needs only the standard library is looked at here; the rest is asked of
`moe_course.installation`, through the environment's own Python, once there is an environment.
"""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from moe_course.setup.browser import ADVICE, find_browser
from moe_course.setup.environment import (
    READY,
    SPACE_FOR_ALL,
    SPACE_FOR_UPDATE,
    check_venv_module,
    judge,
    wanted_stamp,
)
from moe_course.setup.errors import SetupError
from moe_course.setup.places import ROOT, cleaned_environ, course_command, environment_python


@dataclass(frozen=True)
class Check:
    """One thing looked at; `advice` is empty where nothing is to be done."""

    name: str
    value: str
    advice: str = ""


def look(root: Path = ROOT) -> list[Check]:
    """What can be seen without the environment."""
    return [_python(), _environment(root), _disk(root), _browser()]


def run_doctor(root: Path = ROOT) -> int:
    """Print everything; returns 0 if nothing is missing, 1 otherwise."""
    checks = look(root)
    print("The system")
    for check in checks:
        print(f"{'problem' if check.advice else 'ok     '}  {check.name:12s}  {check.value}")
        if check.advice:
            print(f"{'':23s}-> {check.advice}")
    print("\nThe installation", flush=True)
    python = environment_python(root / ".venv")
    if not python.exists():
        print(
            f"torch and the rest are not installed yet\n{'':9s}-> {course_command('lab')} "
            "installs them"
        )
        return 1
    command = [str(python), "-m", "moe_course.installation"]
    code = subprocess.run(command, cwd=root, env=cleaned_environ(dict(os.environ))).returncode
    return int(code != 0 or any(check.advice for check in checks))


def _python() -> Check:
    value = f"{platform.python_version()}, {sys.executable}"
    try:
        check_venv_module()
    except SetupError as error:
        return Check("Python", value, str(error))
    return Check("Python", value)


def _environment(root: Path) -> Check:
    verdict = judge(root / ".venv", wanted_stamp(root))
    if verdict.action == READY:
        return Check("environment", f"complete, in {root / '.venv'}")
    value = "incomplete" if (root / ".venv").exists() else "not made yet"
    return Check("environment", value, f"{course_command('lab')} makes it")


def _disk(root: Path) -> Check:
    free = shutil.disk_usage(root).free
    needed = SPACE_FOR_UPDATE if environment_python(root / ".venv").exists() else SPACE_FOR_ALL
    value = f"{free / 1e9:.1f} GB free"
    if free < needed:
        return Check(
            "disk", value, f"free some space: {needed / 1e9:.0f} GB are needed for what comes next"
        )
    return Check("disk", value)


def _browser() -> Check:
    found = find_browser()
    return (
        Check("browser", found)
        if found
        else Check("browser", "no Chromium or Chrome found", ADVICE)
    )

"""Where things are, on Linux, macOS and Windows."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"

ON_WINDOWS = os.name == "nt"


def environment_python(venv: Path, windows: bool = ON_WINDOWS) -> Path:
    """The Python of a virtual environment."""
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def course_command(verb: str, windows: bool = ON_WINDOWS) -> str:
    """What a reader types to start the course, for use in messages."""
    return f"{'py' if windows else 'python3'} course.py {verb}"


def install_log(venv: Path) -> Path:
    """Everything pip said during the last installation."""
    return venv / "install.log"


def cleaned_environ(environ: dict[str, str]) -> dict[str, str]:
    """Environment variables for our child processes: without those that would redirect Python or
    pip.

    A PYTHONPATH left over from other software, for one, would put its packages before the pinned
    ones.
    """
    unwanted = {
        "PYTHONHOME",
        "PYTHONPATH",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_USER",
        "PIP_REQUIRE_VIRTUALENV",
    }
    kept = {name: value for name, value in environ.items() if name.upper() not in unwanted}
    return kept | {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}

"""Where things are, on Linux, macOS and Windows."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ON_WINDOWS = os.name == "nt"
# They redirect Python or an installer: a PYTHONPATH left over from other software, for one, would
# put its packages before the pinned ones.
UNWANTED = (
    "PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV "
    "UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX"
).split()


def environment_python(venv: Path, windows: bool = ON_WINDOWS) -> Path:
    """The Python of a virtual environment."""
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def course_command(verb: str, windows: bool = ON_WINDOWS) -> str:
    """What a reader types to start the course, for use in messages."""
    return f"{'py' if windows else 'python3'} course.py {verb}"


def cleaned_environ(environ: dict[str, str]) -> dict[str, str]:
    """Environment variables for child processes: without those that are UNWANTED."""
    kept = {name: value for name, value in environ.items() if name.upper() not in UNWANTED}
    return kept | {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}

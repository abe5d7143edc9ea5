"""The stamp: a small file that says an environment is complete, and for what it was made.

It is written last and in one step, so an environment without one is never taken for complete.
"""

import hashlib
import json
import os
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

STAMP_NAME = "course-stamp.json"
UNFINISHED_NAME = "install.unfinished"
SETTINGS = "moe_course/setup/jupyterlab_settings/"
HASHED_FILES = (
    "requirements.txt",
    "constraints.txt",
    SETTINGS + "moe_course.json",
    SETTINGS + "pyproject.toml",
)


@dataclass(frozen=True)
class Stamp:
    """What an environment was made for.

    Attributes:
        fingerprint: hash of everything that decides what gets installed.
        python: the Python that made it, such as "3.11".
        root: the course's folder; environments cannot be moved.
    """

    fingerprint: str
    python: str
    root: str


def fingerprint(root: Path) -> str:
    """Hash of the requirements, the constraints, the JupyterLab settings and the package metadata.

    Of pyproject.toml only what concerns the installation counts: a changed lint rule needs no new
    installation. Line ends do not count either, because Git may have rewritten them.
    """
    digest = hashlib.sha256()
    for name in HASHED_FILES:
        digest.update((root / name).read_bytes().replace(b"\r\n", b"\n"))
        digest.update(b"\0")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [
        project.get("project"),
        project.get("build-system"),
        project.get("tool", {}).get("setuptools"),
    ]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    return digest.hexdigest()


def read_stamp(venv: Path) -> Stamp | None:
    """The stamp of an environment, or None where there is none or it cannot be read."""
    try:
        return Stamp(**json.loads((venv / STAMP_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_stamp(venv: Path, stamp: Stamp) -> None:
    """Write the stamp so that it is there as a whole or not at all."""
    draft = venv / (STAMP_NAME + ".new")
    draft.write_text(json.dumps(asdict(stamp), indent=2) + "\n", encoding="utf-8")
    os.replace(draft, venv / STAMP_NAME)


def mark_unfinished(venv: Path) -> None:
    """Leave a mark that an installation has begun; it goes when that has ended properly."""
    (venv / STAMP_NAME).unlink(missing_ok=True)
    (venv / UNFINISHED_NAME).write_text(
        "An installation was under way. The next start makes the environment again.\n",
        encoding="utf-8",
    )


def clear_unfinished(venv: Path) -> None:
    (venv / UNFINISHED_NAME).unlink(missing_ok=True)


def is_unfinished(venv: Path) -> bool:
    return (venv / UNFINISHED_NAME).exists()

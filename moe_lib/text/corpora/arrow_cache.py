"""Keep a computed dataset on disk as Arrow files, so that the next start reads it in moments.

A dataset appears under its final name only when it is complete: it is written to a folder of its
own and renamed. A killed process leaves such a folder behind, never half a cache; of two processes
that write at once, one wins.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from moe_lib.text_files import parse_json, read_text

_UNFINISHED = ".unfinished-"
_STALE_SECONDS = 24 * 3600
_SUMS = "check_sums.json"


def cache_folder() -> Path:
    """The folder for data that can be computed again: $MOE_LIB_CACHE, else the system's usual
    place."""
    chosen = os.environ.get("MOE_LIB_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("moe_lib", appauthor=False)


def cached_dataset(folder: Path, name: str, build: Callable):
    """Return the dataset saved as `folder/name`, or call `build()`, save its result, and return
    that.

    A folder that cannot be written, or a saved dataset that cannot be read, gives a warning, and
    the dataset is built.
    """
    from datasets import Dataset

    target = folder / name
    if target.is_dir():
        try:
            _check_sums(target)
            return Dataset.load_from_disk(str(target))
        except Exception as error:  # damaged files raise many kinds of errors, from json to pyarrow
            warnings.warn(
                f"{target}: not a readable cache ({error}); building it again", stacklevel=2
            )
            shutil.rmtree(target, ignore_errors=True)
    dataset = build()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    except OSError as error:
        warnings.warn(
            f"{folder}: cannot keep a cache there ({error}); continuing without", stacklevel=2
        )
        return dataset
    try:
        with quiet_datasets():
            dataset.save_to_disk(str(unfinished / "dataset"))
        sums = json.dumps(_sums(unfinished / "dataset"), indent=2)
        (unfinished / "dataset" / _SUMS).write_text(sums, encoding="utf-8")
        os.replace(unfinished / "dataset", target)
    except OSError as error:
        if not target.is_dir():  # otherwise another process was first, and its result is as good
            warnings.warn(
                f"{target}: cannot write the cache ({error}); continuing without", stacklevel=2
            )
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return dataset


def _sums(folder: Path) -> dict[str, str]:
    """The check sum of every file of a saved dataset, by its name."""
    sums = {}
    for path in sorted(folder.iterdir()):
        if path.name != _SUMS:
            with path.open("rb") as file:
                sums[path.name] = hashlib.file_digest(file, "blake2b").hexdigest()
    return sums


def _check_sums(folder: Path) -> None:
    """Raise ValueError naming the first file that is not as it was saved: Arrow itself would take
    changed bytes for text. Other files are none of its business: `datasets` keeps results there."""
    saved = parse_json(read_text(folder / _SUMS), folder / _SUMS)
    found = _sums(folder)
    for name in saved:
        if saved[name] != found.get(name):
            raise ValueError(f"{name} is not as it was saved")


@contextmanager
def quiet_datasets():
    """Switch the progress bars of `datasets` off for a while."""
    import datasets

    were_off = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            datasets.enable_progress_bars()


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left behind, once it is a day old and so nobody's work in
    progress."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)

"""Writing files so that a full disk or a kill at any moment leaves the old ones or the new ones,
never half of one. Reading them so that a damaged one is named."""

import glob
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:  # a damaged file is refused before torch, which is slow to import, is needed
    from torch import Tensor

_ASIDE = ".part"  # ends the names of what is being written; ".NAME.PROCESS-RANDOM.part"
_COMPLETE = ".folder.complete"  # in a folder: new files, all on disk, that are to replace others
_VOID = ".folder.void"  # in it: names of the files that are void then


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step. OSError
    naming `path` if that fails: the old file is then as it was."""
    _require_replaceable(path)
    with _aside(path, path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # what the umask gives; safetensors would make it 0600
        write(temporary)
        temporary.chmod(mode)
        _flush(temporary)
        os.replace(temporary, path)


def write_folder(
    folder: Path, write: Callable[[Path], None], instead_of: Iterable[str] = ()
) -> None:
    """Let `write` fill an empty folder, then put its files into `folder`; others there stay,
    but for those named in `instead_of`, which the new ones make void.

    One rename decides. A new folder gets its name by it. In a folder that is there already, the
    new files lie complete in a folder of their own until the rename says so; only then they are
    moved, one by one. A kill before it leaves the old files, one after it the new ones:
    `finish_folder`, which every reader of ours and the next `write_folder` call first, moves what
    is left to move. OSError naming `folder` if something fails.
    """
    finish_folder(folder)
    there = folder.exists()
    with _aside(folder / "folder" if there else folder, folder) as temporary:
        temporary.mkdir()
        write(temporary)
        for path in _files_in(temporary):
            _require_replaceable(folder / path.relative_to(temporary))
            _flush(path)
        if there:
            void = sorted(set(instead_of) - {path.name for path in temporary.iterdir()})
            (temporary / _VOID).write_text(json.dumps(void), encoding="utf-8")
            _flush(temporary / _VOID)
        os.rename(temporary, folder / _COMPLETE if there else folder)
    finish_folder(folder)


def finish_folder(folder: Path) -> None:
    """Move the files that a killed `write_folder` had complete to their places; most often there
    are none. Several processes may do so at once."""
    complete = folder / _COMPLETE
    if not complete.is_dir() or complete.is_symlink():
        return
    with suppress(FileNotFoundError):  # another process has done it
        void = json.loads((complete / _VOID).read_text(encoding="utf-8"))
        for name in void if isinstance(void, list) else ():
            if isinstance(name, str) and Path(name).name == name:  # of this folder, no other
                (folder / name).unlink(missing_ok=True)
    for path in _files_in(complete):
        target = folder / path.relative_to(complete)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another process was faster
            os.replace(path, target)
    _remove(complete)


def write_tensors(
    path: Path, tensors: "dict[str, Tensor]", metadata: dict[str, str] | None = None
) -> None:
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, lambda temporary: save_file(contiguous, temporary, metadata))


def read_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Tensors and metadata of a safetensors file. ValueError naming the file if it is damaged or
    something else."""
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def require_weights(path: Path, tensors: "dict[str, Tensor]") -> None:
    """ValueError naming the file, unless all tensors hold finite floating-point numbers."""

    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{path}: {name} holds {tensor.dtype}; wants floating-point numbers")
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} holds a NaN or infinity")


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a safetensors file's tensors, without reading them. Errors as read_tensors."""
    with opened(path, "np") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def require_fields(path: Path, content: dict, **fields: type | tuple[type, ...]) -> None:
    """ValueError naming the file and the field, unless `content` has all of them with these
    types."""
    for name, kind in fields.items():
        if name not in content:
            raise ValueError(f"{path}: has no {name!r}")
        if not isinstance(content[name], kind):
            raise ValueError(f"{path}: {name!r} is a {type(content[name]).__name__}")


def require_only(path: Path, content: dict, *names: str) -> None:
    """ValueError naming the file and the fields that `content` has beside these."""
    other = sorted(set(content) - set(names))
    if other:
        raise ValueError(f"{path}: {other[0]!r}: no such field; wants {', '.join(names)}")


def write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict:
    """A JSON object. ValueError naming the file if it is damaged or holds something else."""
    _require_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # bad JSON, not UTF-8, endless brackets
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}; wants a JSON object")
    return content


def require_no_pointer(path: Path) -> None:
    """FileNotFoundError or ValueError naming a file that is not there, or is a pointer of Git
    LFS."""
    _require_file(path)
    with path.open("rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            wants = "the file itself: fetch it with `git lfs pull`"
            raise ValueError(f"{path}: a pointer of Git LFS; wants {wants}")


@contextmanager
def opened(path: Path, framework: str = "pt") -> Iterator:
    """A safetensors file, mapped into memory and read as far as it is asked for (safetensors'
    `safe_open`). Errors as read_tensors."""
    require_no_pointer(path)
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except SafetensorError as error:
        said = f"not a complete safetensors file ({error})"
        raise ValueError(f"{path}: {said}; it may be cut short") from error


def _require_file(path: Path) -> None:
    if not path.is_file():  # a named pipe would wait for ever
        what = "not a regular file" if path.exists() else "no such file"
        raise FileNotFoundError(f"{path}: {what}")


@contextmanager
def _aside(path: Path, named: Path) -> Iterator[Path]:
    """A free name beside `path`. What stands there in the end is removed, and so is what killed
    processes left; errors of the disk name `named`."""
    there = path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*{_ASIDE}"):
            if not _at_work(left):
                _remove(left)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_ASIDE}")
        try:
            yield temporary
        finally:
            _remove(temporary)
    except BaseException as error:
        if not there and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
        number = _disk_error(error)
        if number is None:
            raise
        raise OSError(number, f"{os.strerror(number)}; nothing was changed", str(named)) from error


def _disk_error(error: BaseException) -> int | None:
    """The number of the system's error; safetensors and tokenizers have it in their words only."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error)) if type(error) is not ValueError else None
    return int(found[1]) if found else None


def _at_work(left: Path) -> bool:
    """Whether the process that writes `left` still runs."""
    number = left.name.removesuffix(_ASIDE).rpartition(".")[2].partition("-")[0]
    if os.name == "nt" or not number.isdigit():
        return True  # Windows has no harmless way to ask
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != _VOID]


def _require_replaceable(path: Path) -> None:
    """A pipe, a device or a folder in the place of a file is not for us to replace."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is a folder, a pipe or a device; wants a file")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """On disk before it gets its name, or a power cut could empty it."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())

"""A folder is written as a whole: a kill at any step leaves all of the old files or all of the new
ones, for whoever reads next."""

import json
import os

import pytest

from moe_lib import files
from moe_lib.files import finish_folder, read_json, write_folder, write_json

OLD, NEW = {"a.json": 1, "b.json": 1, "c.json": 1}, {"a.json": 2, "b.json": 2, "d.json": 2}


def fill(content):
    return lambda aside: [write_json(aside / name, {"it": it}) for name, it in content.items()]


def read(folder):
    """What the next reader finds, hidden files left out."""
    finish_folder(folder)
    found = {path.name: path for path in folder.iterdir() if not path.name.startswith(".")}
    return {name: read_json(path)["it"] for name, path in sorted(found.items())}


def killed_at(step: int, do) -> bool:
    """Do it in a process that dies at that call of the system; True if it came to an end first."""
    if not hasattr(os, "fork"):
        pytest.skip("a kill is made by fork")
    child = os.fork()
    if child == 0:
        calls = 0

        def dying(function):
            def wrapped(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls > step:
                    os._exit(9)
                return function(*args, **kwargs)

            return wrapped

        for name in ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync"):
            setattr(os, name, dying(getattr(os, name)))
        try:
            do()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("there", [False, True])
def test_a_kill_at_every_step(tmp_path, there):
    seen = []
    for step in range(200):
        folder = tmp_path / f"run {step}"
        if there:
            write_folder(folder, fill(OLD))
            (folder / "mine.txt").write_text("of a reader")
            (folder / "mine.txt").rename(folder / ".mine.txt")
        done = killed_at(step, lambda f=folder: write_folder(f, fill(NEW), instead_of=["c.json"]))
        old = OLD if there else None
        found = read(folder) if folder.exists() else None
        assert found in (old, NEW), f"after {step} steps: {found}"
        assert not there or (folder / ".mine.txt").read_text() == "of a reader"
        seen.append(found)
        write_folder(folder, fill(OLD), instead_of=["d.json"])  # the next one writes as ever
        assert read(folder) == OLD
        left = {path.name for path in folder.iterdir()} - set(OLD) - {".mine.txt"}
        assert not left and not list(tmp_path.glob(".*")), left
        if done:
            break
    first = seen.index(NEW)
    assert 0 < first < len(seen) - 1 and set(map(str, seen[first:])) == {str(NEW)}


def test_what_is_left_is_finished_by_every_reader(tmp_path, monkeypatch):
    from moe_lib import LanguageModel, ModelConfig, load_checkpoint, save_checkpoint
    from moe_lib.opening import check_openable
    from moe_lib.text import load_tokenizer

    def saved(name, hidden):
        folder = tmp_path / name
        model = LanguageModel(ModelConfig.preset("tiny", hidden_size=hidden, vocab_size=5000))
        with monkeypatch.context() as patch:
            patch.setattr(files, "finish_folder", lambda folder: None)
            save_checkpoint(model, folder, load_tokenizer())
        return folder

    for number, reader in enumerate((load_checkpoint, check_openable, load_tokenizer)):
        folder = saved(f"model {number}", 32)
        saved(f"model {number}", 64)
        assert read_json(folder / "config.json")["hidden_size"] == 32
        reader(folder)
        assert read_json(folder / "config.json")["hidden_size"] == 64
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_folder_of_somebody_else_can_remove_nothing_outside_it(tmp_path):
    other, folder = tmp_path / "precious.txt", tmp_path / "theirs"
    other.write_text("kept")
    (folder / ".folder.complete").mkdir(parents=True)
    for void in (["../precious.txt", str(other), 3, None], {"a": 1}):
        (folder / ".folder.complete" / ".folder.void").write_text(json.dumps(void))
        finish_folder(folder)
        assert other.read_text() == "kept"
        (folder / ".folder.complete").mkdir(exist_ok=True)
    (folder / ".folder.complete").rmdir()
    (folder / ".folder.complete").symlink_to(tmp_path, target_is_directory=True)
    finish_folder(folder)
    assert other.read_text() == "kept"


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_replaced(tmp_path, kind):
    place = tmp_path / "a.json"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("/dev/null")
    for write in (lambda: write_json(place, {}), lambda: write_folder(tmp_path, fill(NEW))):
        with pytest.raises(ValueError, match=r"a\.json: is a folder, a pipe or a device"):
            write()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json"]

"""What makes an installation out of date, and what does not."""

import pytest

from moe_course.setup.stamp import (
    STAMP_NAME,
    Stamp,
    fingerprint,
    mark_unfinished,
    read_stamp,
    write_stamp,
)


@pytest.mark.parametrize(
    "name",
    ["requirements.txt", "constraints.txt", "moe_course/setup/jupyterlab_settings/moe_course.json"],
)
def test_each_file_that_decides_what_is_installed_counts(root, name):
    before = fingerprint(root)
    (root / name).write_text("changed==1\n", encoding="utf-8")
    assert fingerprint(root) != before


def test_of_pyproject_only_the_packaging_counts(root):
    before, file = fingerprint(root), root / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("line-length = 110", "line-length = 100"), encoding="utf-8")
    assert fingerprint(root) == before
    file.write_text(text.replace('version = "1"', 'version = "2"'), encoding="utf-8")
    assert fingerprint(root) != before


def test_line_ends_rewritten_by_git_do_not_count(root):
    before = fingerprint(root)
    (root / "requirements.txt").write_bytes(b"torch==2.13.0\r\n")
    assert fingerprint(root) == before


def test_a_line_moved_between_files_counts(root):
    before = fingerprint(root)
    (root / "requirements.txt").write_text("", encoding="utf-8")
    (root / "constraints.txt").write_text("torch==2.13.0\nnumpy==2.4.6\n", encoding="utf-8")
    assert fingerprint(root) != before


def test_written_and_read_back(tmp_path):
    stamp = Stamp("abc", "3.11", "somewhere")
    write_stamp(tmp_path, stamp)
    assert read_stamp(tmp_path) == stamp
    assert [path.name for path in tmp_path.iterdir()] == [STAMP_NAME]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"fingerprint": "a"}', "null"])
def test_a_damaged_stamp_is_no_stamp(tmp_path, content):
    (tmp_path / STAMP_NAME).write_text(content, encoding="utf-8")
    assert read_stamp(tmp_path) is None


def test_beginning_an_installation_takes_the_stamp_away(tmp_path):
    write_stamp(tmp_path, Stamp("abc", "3.11", "somewhere"))
    mark_unfinished(tmp_path)
    assert read_stamp(tmp_path) is None

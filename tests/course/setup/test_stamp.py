"""What makes an installation out of date, and what does not."""

import pytest

from moe_course.setup.environment import STAMP, read_stamp, wanted_stamp


@pytest.mark.parametrize(
    "name",
    ["requirements.txt", "constraints.txt", "moe_course/setup/jupyterlab_settings/moe_course.json"],
)
def test_each_file_that_decides_what_is_installed_counts(root, name):
    before = wanted_stamp(root)
    (root / name).write_text("changed==1\n", encoding="utf-8")
    assert wanted_stamp(root) != before


def test_of_pyproject_only_the_packaging_counts(root):
    before, file = wanted_stamp(root), root / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("line-length = 110", "line-length = 100"), encoding="utf-8")
    assert wanted_stamp(root) == before
    file.write_text(text.replace('version = "1"', 'version = "2"'), encoding="utf-8")
    assert wanted_stamp(root) != before


def test_line_ends_rewritten_by_git_do_not_count(root):
    before = wanted_stamp(root)
    (root / "requirements.txt").write_bytes(b"torch==2.13.0\r\n")
    assert wanted_stamp(root) == before


def test_a_line_moved_between_files_counts(root):
    before = wanted_stamp(root)
    (root / "requirements.txt").write_text("", encoding="utf-8")
    (root / "constraints.txt").write_text("torch==2.13.0\nnumpy==2.4.6\n", encoding="utf-8")
    assert wanted_stamp(root) != before


@pytest.mark.parametrize("content", ["", "{", '["a"]', '{"fingerprint": "a"}', "null", "[1, 2]"])
def test_a_damaged_stamp_is_no_stamp(tmp_path, content):
    (tmp_path / STAMP).write_text(content, encoding="utf-8")
    assert read_stamp(tmp_path) is None

"""Percent scripts become notebooks and come back."""

import pytest

from moe_course.notebooks.scripts import convert_script, from_script, to_script

SCRIPT = '''# %% [markdown] tags=["exercise-card"]
# # Title
#
# Some $\\alpha$ text

# %% tags=["setup", "x"]
import math

# a comment, not Markdown
print(math.pi)

# %% [markdown]
"""
Raw **text** with \\sqrt{d}
# heading
"""

# %% tags=["solution"]
y = 1
'''


def test_cells_tags_and_markdown():
    cells = from_script(SCRIPT).cells
    assert [cell.cell_type for cell in cells] == ["markdown", "code", "markdown", "code"]
    assert cells[0].source == "# Title\n\nSome $\\alpha$ text"
    assert cells[1].source == "import math\n\n# a comment, not Markdown\nprint(math.pi)"
    assert cells[1].metadata.tags == ["setup", "x"]
    assert cells[2].source == "Raw **text** with \\sqrt{d}\n# heading"
    assert cells[3].metadata.jupyter.source_hidden is True


def test_round_trip():
    once = to_script(from_script(SCRIPT))
    again = from_script(once)
    assert to_script(again) == once
    for cell, other in zip(from_script(SCRIPT).cells, again.cells, strict=True):
        assert (cell.cell_type, cell.source, cell.metadata) == (
            other.cell_type,
            other.source,
            other.metadata,
        )


@pytest.mark.parametrize(
    "script, words",
    [
        ("x = 1\n# %%\n", "line 1: text before"),
        ("# %%\n# %% tags=['a'] [markdown]\n", "line 2: got"),
        ('# %% tags=["a]\n', "line 1: tags"),
    ],
)
def test_unreadable_script_names_file_and_line(tmp_path, script, words):
    path = tmp_path / "nb.py"
    path.write_text(script, encoding="utf-8")
    with pytest.raises(ValueError, match=f"nb.py: {words}"):
        convert_script(path, tmp_path / "nb.ipynb")

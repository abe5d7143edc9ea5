"""The written form of a notebook: stable, small, without what belongs to one run or one machine."""

import errno
import json
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from moe_course.notebooks import normalise as form


def png(mode="RGBA"):
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.imshow(np.random.default_rng(0).normal(size=(8, 12)))
    axes.plot([0, 11], [0, 7], color="tab:orange")
    axes.set_title("A title")
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    picture, again = Image.open(buffer), BytesIO()
    picture.convert(mode).save(again, format="PNG")
    return b64encode(again.getvalue()).decode()


def messy():
    view = {form.WIDGET: {"model_id": "abc", "version_major": 2, "version_minor": 0}}
    cells = [
        new_markdown_cell("# 03 Title\n\n| Computer time | measured: … s CPU |"),
        new_code_cell(
            "x = 1  \n",
            execution_count=7,
            metadata={
                "execution": {"iopub.status.idle": "2026"},
                "collapsed": True,
                "tags": ["setup", "nbval-check-output"],
                "jupyter": {"outputs_hidden": False, "source_hidden": True},
            },
        ),
        new_code_cell(
            "x = 1",
            execution_count=9,
            outputs=[
                new_output("stream", name="stdout", text="a\n"),
                new_output("stream", name="stdout", text="b\n"),
                new_output("stream", name="stderr", text="\r 50%|##   | 1/2\r100%|####| 2/2\n"),
                new_output("display_data", {"text/plain": "  0%|  | 0/2 [00:00<?, ?it/s]", **view}),
                new_output(
                    "display_data",
                    {"image/png": png(), "text/plain": "words " * 9, **view},
                    metadata={"image/png": {"alt": "words " * 9, "width": 640}},
                ),
                new_output(
                    "execute_result",
                    {"text/html": "<p>x</p>", "text/plain": "x", **view},
                    execution_count=9,
                ),
            ],
        ),
    ]
    return new_notebook(
        cells=cells,
        metadata={"widgets": {"state": {}}, "kernelspec": {"name": "mine", "display_name": "Mine"}},
    )


def test_normal_form():
    notebook = form.normalise(messy())
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    _, first, second = notebook.cells
    assert first.metadata == {
        "tags": ["setup", "nbval-check-output"],
        "jupyter": {"source_hidden": True},
    }
    assert (first.execution_count, second.execution_count) == (1, 2)
    kinds = [output.output_type for output in second.outputs]
    assert kinds == ["stream", "display_data", "execute_result"]  # neither progress bar is left
    assert second.outputs[0].text == "a\nb\n"
    assert set(second.outputs[1].data) == {"image/png", "text/plain"}
    assert second.outputs[1].metadata == {"image/png": {"alt": "words " * 9}}
    assert set(second.outputs[2].data) == {"text/html", "text/plain"}
    assert second.outputs[2].execution_count == 2
    nbformat.validate(notebook)


def test_cell_ids_are_unique_and_depend_on_the_source_alone():
    first, again = form.normalise(messy()), form.normalise(messy())
    ids = [cell.id for cell in first.cells]
    assert ids == [cell.id for cell in again.cells] and len(set(ids)) == 3
    header = ids[0]
    form.record_cpu_seconds(first, 31)
    assert "31 s CPU" in first.cells[0].source
    assert form.normalise(first).cells[0].id == header


def test_twice_is_once(tmp_path):
    path = tmp_path / "a.ipynb"
    form.write(form.normalise(messy()), path)
    once = path.read_bytes()
    form.write(form.normalise(form.read(path)), path)
    assert path.read_bytes() == once
    assert json.loads(once)["nbformat_minor"] == 5 and once.endswith(b"}\n") and b"\r" not in once
    assert "…".encode() in once  # readable letters, no \u escapes


def test_bare_widget_and_other_stderr_stay_to_be_reported():
    notebook = messy()
    notebook.cells[2].outputs = [
        new_output("display_data", {form.WIDGET: {"model_id": "x"}, "text/plain": "Button()"}),
        new_output("stream", name="stderr", text="UserWarning: careful\n"),
    ]
    outputs = form.normalise(notebook).cells[2].outputs
    assert form.WIDGET in outputs[0].data and outputs[1].text == "UserWarning: careful\n"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_png_gets_smaller_keeps_its_size_and_its_look(mode):
    before = png(mode)
    after = form.shrink_png(before)
    small, large = (Image.open(BytesIO(b64decode(text))) for text in (after, before))
    assert small.mode == "P" and small.size == large.size and form.shrink_png(after) == after
    difference = np.abs(
        np.asarray(small.convert("RGB"), int) - np.asarray(large.convert("RGB"), int)
    )
    assert difference.mean() < 2 and len(after) < 0.8 * len(before)


def test_transparent_png_stays_transparent():
    buffer = BytesIO()
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(buffer, format="PNG")
    after = form.shrink_png(b64encode(buffer.getvalue()).decode())
    assert Image.open(BytesIO(b64decode(after))).convert("RGBA").getpixel((5, 5))[3] == 0
    assert form.shrink_png(after) == after


@pytest.mark.parametrize(
    "old, new, written",
    [
        ("…", 12.4, 12),
        ("20", 24.9, 20),
        ("20", 25.6, 26),
        ("20", 14.0, 14),
        ("1", 0.2, 1),
        ("…", 0.1, 1),
    ],
)
def test_measured_time_changes_only_by_more_than_a_quarter(old, new, written):
    notebook = new_notebook(cells=[new_markdown_cell(f"| Computer time | measured: {old} s CPU |")])
    form.record_cpu_seconds(notebook, new)
    assert f"measured: {written} s CPU" in notebook.cells[0].source


def test_file_that_is_no_notebook(tmp_path):
    path = tmp_path / "broken.ipynb"
    path.write_text('{"cells": [', encoding="utf-8")
    with pytest.raises(ValueError, match="broken.ipynb: line 1 is not valid JSON"):
        form.read(path)


CELL = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": None}
FRAME = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}}
BROKEN = {
    "a list": ([], "not a notebook"),
    "another JSON": ({"cells": []}, "not a notebook"),
    "cells a number": ({**FRAME, "cells": 3}, "not a notebook"),
    "a version from the future": ({**FRAME, "nbformat": 99, "cells": []}, "not a notebook"),
    "a version that is a text": ({**FRAME, "nbformat": "x", "cells": []}, "not a notebook"),
    "a cell that is a number": ({**FRAME, "cells": [CELL, 5]}, "not a notebook|cell 1: wants a"),
    "a cell without source": (
        {**FRAME, "cells": [{name: CELL[name] for name in CELL if name != "source"}]},
        'not a notebook|cell 0: wants a "source"',
    ),
    "outputs a text": ({**FRAME, "cells": [{**CELL, "outputs": "x"}]}, "not a no|cell 0"),
    "tags without metadata": ({**FRAME, "cells": [{**CELL, "metadata": 1}]}, "not a no|cell 0"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_notebook_is_named(tmp_path, kind):
    content, words = BROKEN[kind]
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"broken\.ipynb: ({words})"):
        form.read(path)


def test_a_file_that_is_missing_a_folder_or_not_utf8_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.ipynb: no such file"):
        form.read(tmp_path / "absent.ipynb")
    with pytest.raises(ValueError, match="is a folder"):
        form.read(tmp_path)
    (tmp_path / "latin.ipynb").write_bytes(b'{"cells": ["\xff"]}')
    with pytest.raises(ValueError, match="latin.ipynb: line 1 is not valid UTF-8"):
        form.read(tmp_path / "latin.ipynb")


def test_a_full_disk_leaves_the_old_notebook(tmp_path, monkeypatch):
    path = tmp_path / "a.ipynb"
    form.write(new_notebook(cells=[new_markdown_cell("old")]), path)
    before = path.read_bytes()
    fill = Path.write_bytes

    def full(self, content):
        fill(self, content[:40])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"a\.ipynb"):
        form.write(new_notebook(cells=[new_markdown_cell("new")]), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_broken_picture_is_named():
    with pytest.raises(ValueError, match="holds no PNG"):
        form.shrink_png("AAAA")


def test_a_drawing_keeps_its_svg_and_its_picture_and_no_html():
    from moe_lib.views.drawings import residual_stream

    data, metadata = residual_stream()._repr_mimebundle_()
    cell = new_code_cell("draw()", outputs=[new_output("display_data", data, metadata=metadata)])
    (output,) = form.normalise(new_notebook(cells=[cell])).cells[0].outputs
    assert set(output.data) == {"image/svg+xml", "image/png", "text/plain"}
    assert output.metadata["image/png"]["alt"] == data["text/plain"]

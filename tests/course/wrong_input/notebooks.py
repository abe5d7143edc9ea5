"""Tools for notebooks, and pictures in them."""

from base64 import b64encode
from io import BytesIO

from matplotlib.figure import Figure
from nbformat.v4 import new_notebook

from moe_course.chapters import CHAPTERS
from tests.course.wrong_input.made import file, folder, notebook
from tests.wrong_input.table import (
    COUNT,
    FLAG,
    NON_NEGATIVE,
    PATH,
    POSITIVE,
    TEXT,
    Entry,
    find,
)

NOTEBOOK = [None, {}, {"cells": []}, {"cells": [{"cell_type": "code"}]}, "a.ipynb", 3]
ALT = [None, 3, "short", "", "half a pair \ud800 in a sentence"]


def png() -> str:
    buffer = BytesIO()
    Figure(figsize=(1, 1)).savefig(buffer, format="png")
    return b64encode(buffer.getvalue()).decode()


BOOK = "moe_course.notebooks."
NOTEBOOKS = [
    Entry(BOOK + "normalise.normalise", lambda: dict(notebook=notebook()), dict(notebook=NOTEBOOK)),
    Entry(BOOK + "normalise.dumps", lambda: dict(notebook=notebook()), dict(notebook=NOTEBOOK)),
    Entry(
        BOOK + "normalise.write",
        lambda: dict(notebook=notebook(), path=folder() / "a.ipynb"),
        dict(notebook=NOTEBOOK, path=[*PATH, ""]),
    ),
    Entry(
        BOOK + "normalise.read",
        lambda: dict(path=file(notebook(), "a.ipynb")),
        dict(path=[*PATH, "", lambda: file("{", "a.ipynb"), lambda: file("{}", "a.ipynb")]),
    ),
    Entry(
        BOOK + "normalise.record_cpu_seconds",
        lambda: dict(notebook=notebook(), seconds=3.0),
        dict(notebook=[*NOTEBOOK, new_notebook()], seconds=NON_NEGATIVE, previous=TEXT),
    ),
    Entry(BOOK + "scripts.from_script", lambda: dict(script="# %%\n1"), dict(script=TEXT)),
    Entry(BOOK + "scripts.to_script", lambda: dict(notebook=notebook()), dict(notebook=NOTEBOOK)),
    Entry(
        BOOK + "scripts.convert_script",
        lambda: dict(script_path=file("# %%\n1", "a.py"), notebook_path=folder() / "a.ipynb"),
        dict(script_path=[*PATH, lambda: file("text", "a.py")], notebook_path=PATH),
    ),
    Entry(BOOK + "rehearsal.rehearse", lambda: dict(notebook=notebook()), dict(notebook=NOTEBOOK)),
    Entry(
        BOOK + "execution.run_notebook",
        lambda: dict(path=file(notebook(), "a.ipynb")),
        dict(path=PATH, cell_timeout=COUNT, write=FLAG),
    ),
    Entry(
        BOOK + "contract.check_calls",
        lambda: dict(source='check("03.1", f)'),
        dict(source=["def (", *TEXT]),
    ),
    Entry(
        BOOK + "contract.problems",
        lambda: dict(notebook=notebook(), path="03_transformer.ipynb"),
        dict(notebook=NOTEBOOK, path=PATH),
    ),
    Entry(
        BOOK + "contract.form_problems",
        lambda: dict(notebook=notebook(), path="03_transformer.ipynb"),
        dict(notebook=NOTEBOOK, path=PATH),
    ),
    Entry(
        BOOK + "contract.tagged",
        lambda: dict(notebook=notebook(), tag="setup"),
        dict(notebook=NOTEBOOK, tag=TEXT[:3]),
    ),
    *(
        Entry(BOOK + f"contract.{name}", lambda: dict(notebook=notebook()), dict(notebook=NOTEBOOK))
        for name in (
            "code_cells",
            "ending_problems",
            "execution_problems",
            "exercises",
            "marking_problems",
            "output_problems",
            "picture_problems",
            "source_problems",
        )
    ),
    *(
        Entry(
            BOOK + f"contract.{name}",
            lambda: dict(notebook=notebook(), chapter=CHAPTERS[3]),
            dict(notebook=NOTEBOOK, chapter=["03", None, 3]),
        )
        for name in ("header_problems", "exercise_problems")
    ),
    Entry(BOOK + "normalise.shrink_png", lambda: dict(encoded=png()), dict(encoded=TEXT)),
]


PICTURES = [
    Entry(
        "moe_course.pictures.show",
        lambda: dict(figure=Figure(), alt="an empty picture, for its words"),
        dict(figure=[None, 5, "a figure", Figure], alt=ALT, dpi=[*POSITIVE, 10**9]),
    ),
    Entry("moe_course.pictures.LivePicture", dict, dict(dpi=[*POSITIVE, 10**9])),
    Entry(
        "moe_course.pictures.LivePicture.show",
        lambda: dict(figure=Figure(), alt="an empty picture, for its words"),
        dict(figure=[None, 5, "a figure"], alt=ALT),
        call=lambda given: find("moe_course.pictures.LivePicture")().show(**given),
    ),
]

ENTRIES = [*NOTEBOOKS, *PICTURES]

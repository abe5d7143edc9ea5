"""Wrong inputs of the course's tools: notebooks, kept runs, folders, methods without a model."""

import json
from pathlib import Path

import pytest

from moe_course.__main__ import main
from moe_course.studies import parameter_efficient_study
from moe_course.studies.running import kept_run
from moe_lib.tuning import methods

EMPTY = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def cell(**fields):
    plain = dict(cell_type="code", source="1", metadata={}, outputs=[], execution_count=None)
    return {**EMPTY, "cells": [{**plain, "id": "a", **fields}]}


def picture(data):
    shown = {"output_type": "display_data", "metadata": {}, "data": {"image/png": data}}
    return cell(outputs=[shown])


BROKEN = {
    "cells none": {**EMPTY, "cells": None},
    "cells of numbers": {**EMPTY, "cells": [3]},
    "a cell without a type": {**EMPTY, "cells": [{"source": "a"}]},
    "a source of numbers": cell(source=3),
    "outputs of numbers": cell(outputs=[3]),
    "metadata of numbers": {**EMPTY, "metadata": 3},
    "a list": [1],
    "no png": picture("!!!"),
    "no base64": picture("a"),
}


@pytest.mark.parametrize("verb", ["normalise", "run", "check"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_notebooks_are_named(tmp_path, capsys, verb, name):
    if "png" in name or "base64" in name:
        verb = "normalise"
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps(BROKEN[name]))
    before = path.read_bytes()
    try:
        code = main([verb, str(path)])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    assert code in (1, 2) and str(path) in said.err + said.out, said
    assert "Traceback" not in said.err and path.read_bytes() == before


@pytest.mark.parametrize("content", [{"mine": 1}, {"key": {}}, {"key": 3, "run": 3}, [1], "text"])
def test_a_file_that_is_no_kept_run_is_not_overwritten(tmp_path, content):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"mine\.json"):
        kept_run(path, {"seed": 1}, lambda: 3)
    assert json.loads(path.read_text()) == content


@pytest.mark.parametrize("out", ["/dev/null", __file__, ""])
def test_a_folder_for_a_study_is_looked_at_first(out, capsys):
    with pytest.raises(SystemExit):
        parameter_efficient_study.main(["--out", out])
    assert "--out: got" in capsys.readouterr().err


COUNTED = ["LoRA", "AdaLoRA", "Houlsby", "Prefix", "Full", "HeadOnly", "RouterOnly", "BiasOnly"]


@pytest.mark.parametrize("name", [*COUNTED, "AddedBias"])
@pytest.mark.parametrize("config", ["tiny", None, 3, Path("config.json")])
def test_a_count_for_no_configuration(name, config):
    with pytest.raises(TypeError, match="^config: got .*; wants a ModelConfig"):
        getattr(methods, name)().count(config)


def test_a_prefix_longer_than_any_memory():
    with pytest.raises(ValueError, match="^length: got .*; wants a whole number from 1 to"):
        methods.Prefix(length=2**62)

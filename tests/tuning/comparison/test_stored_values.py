"""A file of a comparison is read value by value: what no run can have found is named."""

import json

import pytest

from moe_lib.paths import DATA
from moe_lib.tuning.comparison.results import load_comparison

STORED = DATA / "studies" / "fine_tuning_intents.json"


def changed(tmp_path, change):
    content = json.loads(STORED.read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted((DATA / "studies").glob("*.json")))
def test_what_is_stored_is_read(path):
    if json.loads(path.read_text(encoding="utf-8")).get("kind") == "moe_lib comparison":
        assert len(load_comparison(path).runs)


@pytest.mark.parametrize(
    ("column", "values"),
    {
        "case": [None, "", 5],
        "method": [""],
        "n_train": [-5, 0, 1.5, "all", None],
        "seed": ["a", -1, 0.5, None],
        "steps": [1.5, "many", 0],
        "seconds": [-3.0, "long"],
        "test_accuracy": ["high", 7.5, -0.1],
        "test_loss": ["low"],
    }.items(),
)
@pytest.mark.parametrize("table", ["runs"])
def test_a_value_that_no_run_has(tmp_path, table, column, values):
    for value in values:

        def change(content, value=value):
            content[table][2][content[f"{table}_columns"].index(column)] = value

        with pytest.raises(ValueError, match=rf'changed.json: "{table}".*{column}.*wants '):
            load_comparison(changed(tmp_path, change))


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("row 25: its case, n_train and seed", lambda c: c["runs"].append(c["runs"][0])),
        ('"curves".* of a run that is not there', lambda c: c["runs"].pop(0)),
        ('"curves".* of a run that is not there', lambda c: c.update(runs=[])),
        ('"curves".* wants ', lambda c: c["curves"].append(["x"] * len(c["curves_columns"]))),
        ('"curves".* wants a number', lambda c: c["curves"][0].__setitem__(1, "low")),
    ],
)
def test_tables_that_contradict_themselves(tmp_path, says, change):
    with pytest.raises(ValueError, match=f"changed.json: .*{says}|changed.json: {says}"):
        load_comparison(changed(tmp_path, change))

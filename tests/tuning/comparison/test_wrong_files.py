"""Every way in which a stored comparison may be damaged: the error names the file and the field."""

import json
import os

import pytest

from moe_lib.tuning import load_comparison

WHOLE = {
    "kind": "moe_lib comparison",
    "about": {"task": "toy", "metric": "accuracy", "cases": {}, "seeds": [0, 1]},
    "runs_columns": ["case", "n_train", "seed", "test_accuracy"],
    "runs": [["one", 8, 0, 0.5], ["one", 8, 1, None]],
    "curves_columns": ["case", "n_train", "seed", "step", "loss"],
    "curves": [["one", 8, 0, 1, 2.5]],
}


def without(name):
    return {key: value for key, value in WHOLE.items() if key != name}


DAMAGES = {
    **{f"no {name}": (without(name), "not a moe_lib comparison") for name in WHOLE},
    "another kind": ({**WHOLE, "kind": "x"}, "not a moe_lib comparison"),
    **{
        f"{name} is {type(bad).__name__}": ({**WHOLE, name: bad}, f'"{name}" is .*; wants a ')
        for name in WHOLE
        if name != "kind"
        for bad in (3, "text", None, True)
    },
    "about without metric": ({**WHOLE, "about": {"task": "a"}}, '"about", metric is NoneType'),
    "metric a list": ({**WHOLE, "about": {"task": "a", "metric": []}}, '"about", metric is list'),
    "a row is a number": ({**WHOLE, "runs": [3]}, '"runs", row 1: wants a list of 4'),
    "a row too short": ({**WHOLE, "runs": [WHOLE["runs"][0], ["one"]]}, '"runs", row 2: wants'),
    "a row too long": ({**WHOLE, "curves": [[1] * 6]}, '"curves", row 1: wants a list of 5'),
    "a list in a row": ({**WHOLE, "runs": [["one", 8, 0, [1]]]}, "numbers and texts only"),
    "a column is a number": ({**WHOLE, "runs_columns": [1, "a", "b", "c"]}, "number 1 is int"),
    "a column twice": ({**WHOLE, "runs_columns": ["a", "a", "b", "c"]}, "names a column twice"),
    "no column of the metric": (
        {**WHOLE, "runs_columns": ["case", "n_train", "seed", "test_f1"]},
        "\"runs_columns\" has no 'test_accuracy'",
    ),
    "a list": ([], "holds a list"),
}


def test_the_whole_file_is_read(tmp_path):
    path = tmp_path / "study.json"
    path.write_text(json.dumps(WHOLE), encoding="utf-8")
    found = load_comparison(str(path))
    assert found.metric == "test_accuracy" and found.runs["test_accuracy"].isna().tolist() == [
        False,
        True,
    ]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_names_itself_and_the_field(tmp_path, kind):
    content, words = DAMAGES[kind]
    path = tmp_path / "study.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"study\.json: .*{words}"):
        load_comparison(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"kind": "\xe9"}', b"\0" * 10]
)
def test_a_file_that_is_no_json_names_itself(tmp_path, content):
    (tmp_path / "study.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"study\.json: "):
        load_comparison(tmp_path / "study.json")


@pytest.mark.parametrize("wrong", [None, 3, b"a", ["a"], "", " "])
def test_what_is_no_path_is_named(wrong):
    with pytest.raises((TypeError, ValueError), match="^path: got .*; wants the path"):
        load_comparison(wrong)


def test_no_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises((OSError, ValueError), match=path.name):
            load_comparison(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises((OSError, ValueError), match=r"pipe\.json"):
        load_comparison(tmp_path / "pipe.json")

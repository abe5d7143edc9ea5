"""Local copies of public sets whose parts are of other types are refused by name."""

import json
import os
import re

import pytest

from moe_lib.text.tasks import load_task

ANSWER = {"text": "b", "answer_start": 2}
QUESTION = {"id": "1", "question": "What?", "answers": [ANSWER]}
PARAGRAPH = {"context": "a b", "qas": [QUESTION]}
ARTICLE = {"title": "T", "paragraphs": [PARAGRAPH]}
OTHER = (3, "text", None, True)


def squad(article=ARTICLE, paragraph=None, question=None):
    if question is not None:
        paragraph = {**PARAGRAPH, "qas": [question]}
    if paragraph is not None:
        article = {**ARTICLE, "paragraphs": [paragraph]}
    return {"data": [article]}


SQUAD = {
    **{f"the file holds {bad!r}": (bad, "has no list .data.") for bad in OTHER},
    **{f"data is {bad!r}": ({"data": bad}, "has no list .data.") for bad in OTHER},
    **{f"an article is {bad!r}": (squad(bad), "article 1 is") for bad in (*OTHER, [])},
    **{
        f"paragraphs are {bad!r}": (squad({"title": "T", "paragraphs": bad}), "paragraphs: holds")
        for bad in OTHER
    },
    **{f"a paragraph is {bad!r}": (squad(paragraph=bad), "paragraph 1 is") for bad in (3, "t", [])},
    "no context": (squad(paragraph={"qas": []}), "paragraph 1 has qas; wants"),
    **{
        f"qas are {bad!r}": (squad(paragraph={**PARAGRAPH, "qas": bad}), "questions: holds")
        for bad in OTHER
    },
    **{f"a question is {bad!r}": (squad(question=bad), "question 1 is") for bad in (3, "t", [])},
    **{
        f"answers are {bad!r}": (squad(question={**QUESTION, "answers": bad}), "answers: holds")
        for bad in OTHER
    },
    **{
        f"an answer is {bad!r}": (squad(question={**QUESTION, "answers": [bad]}), "answer 1 is")
        for bad in OTHER
    },
    **{
        f"the question's text is {bad!r}": (
            squad(question={**QUESTION, "question": bad}),
            f'"question" is {type(bad).__name__}',
        )
        for bad in (3, None, ["a"])
    },
    **{
        f"an offset is {bad!r}": (
            squad(question={**QUESTION, "answers": [{**ANSWER, "answer_start": bad}]}),
            "answer_start is",
        )
        for bad in ("2", None, 2.0)
    },
}


@pytest.mark.parametrize("kind", SQUAD)
def test_a_wrong_part_of_squad_is_named(tmp_path, kind):
    content, words = SQUAD[kind]
    path = tmp_path / "train-v2.0.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*{words}"):
        load_task("public:squad_v2", path=path)


PARTS = ("train", "oos_train", "val", "oos_val", "test", "oos_test")
CLINC = {
    **{f"the file holds {bad!r}": (bad, "holds ") for bad in (3, "t", None, [])},
    **{
        f"{part} is {bad!r}": ({**dict.fromkeys(PARTS, []), part: bad}, f"{part}, rows: holds")
        for part in PARTS
        for bad in (3, "text", None, {"a": 1})
    },
    **{
        f"a row is {bad!r}": ({**dict.fromkeys(PARTS, []), "train": [bad]}, "train, row 1 is")
        for bad in (3, "ab", None, ["a"], ["a", "b", "c"], {"text": "a"})
    },
    **{
        f"a text is {bad!r}": (
            {**dict.fromkeys(PARTS, []), "train": [[bad, "order"]]},
            f'train, row 1: "text" is {type(bad).__name__}',
        )
        for bad in (3, ["a"], None)
    },
}


@pytest.mark.parametrize("kind", CLINC)
def test_a_wrong_part_of_clinc_is_named(tmp_path, kind):
    content, words = CLINC[kind]
    path = tmp_path / "data_full.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*{words}"):
        load_task("public:clinc150", path=path)


XSUM = {
    **{f"the file holds {bad!r}": (bad, "wants an object") for bad in (3, "t", None, [])},
    **{f"train is {bad!r}": ({"train": bad}, "train, ids: holds") for bad in (3, "t", None)},
    **{f"an id is {bad!r}": ({"train": [bad]}, "train, id 1 is") for bad in (3, None, ["a"])},
}


@pytest.mark.parametrize("kind", XSUM)
def test_a_wrong_part_of_xsum_is_named(tmp_path, kind):
    content, words = XSUM[kind]
    path = tmp_path / "XSUM-SPLIT-90.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*{words}"):
        load_task("public:xsum", path=path)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"[" * 100_000, "is not valid JSON .nested too deep"),
        (b"", "is empty"),
        (b"\0\0", "line 1 holds a zero byte"),
        ('{"data": []}'.encode("utf-16"), "line 1 is not valid UTF-8"),
    ],
)
def test_what_is_no_json_is_named(tmp_path, content, words):
    for set_name, name in (("squad_v2", "dev-v2.0.json"), ("clinc150", "data_full.json")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path / name))}: {words}"):
            load_task(f"public:{set_name}", path=tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    "name", ["squad_v2", "tinystories", "wikitext", "lcsts", "financial_phrasebank", "tnews"]
)
def test_a_pipe_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / "train.json")
    with pytest.raises(ValueError, match=r"train\.json: is a folder, a pipe or a device"):
        load_task(f"public:{name}", path=tmp_path / "train.json")


def test_copies_in_hidden_folders_are_not_read_twice(tmp_path):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for folder in (tmp_path, tmp_path / ".ipynb_checkpoints"):
        (folder / "train-v2.0.json").write_text(json.dumps(squad()), encoding="utf-8")
    assert len(load_task("public:squad_v2", "train", path=tmp_path)) == 1

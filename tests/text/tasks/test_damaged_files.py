"""Every check on load, each with a damaged copy of a real file: the error names the file, the row
and the fault."""

import json
import re

import pytest

from moe_lib.paths import DATA
from moe_lib.text.tasks import load_products, load_second_labels, load_task, task_names
from moe_lib.text.tasks.schema import TASKS
from tests.text.tasks.damage import change_line, copy_of, first_line


def without(key):
    return lambda row: {name: value for name, value in row.items() if name != key}


def put(**values):
    return lambda row: {**row, **values}


def answers(change):
    return lambda row: {**row, "answers": change(row["answers"])}


def attributes(**values):
    return lambda row: {**row, "attributes": {**row["attributes"], **values}}


# set, file, a row that fits, how it is damaged, what the error says besides the file and the line
DAMAGES = [
    (
        "support_intent",
        "train",
        None,
        without("intent"),
        'has no "intent"; it has id, text, language',
    ),
    ("support_intent", "test", None, put(note="x"), 'has a field "note" too many'),
    ("support_intent", "train", None, put(text=7), '"text" is int; wants text'),
    ("support_intent", "train", None, put(text=None), '"text" is NoneType; wants text'),
    ("support_intent", "train", None, put(text=" \t"), '"text" is empty'),
    ("support_intent", "train", None, put(id=""), '"id" is empty'),
    (
        "support_intent",
        "validation",
        None,
        put(intent="refund"),
        "\"intent\" is 'refund'; wants one of account",
    ),
    ("support_intent", "validation", None, put(intent=3), '"intent" is int; wants text'),
    (
        "support_intent",
        "train",
        None,
        put(language="de"),
        "\"language\" is 'de'; wants one of en, zh",
    ),
    (
        "market_sentiment",
        "test",
        None,
        put(label="mixed"),
        "\"label\" is 'mixed'; wants one of negative, neutral",
    ),
    (
        "market_sentiment",
        "test",
        None,
        put(kind="essay"),
        "\"kind\" is 'essay'; wants one of headline, post",
    ),
    ("market_sentiment", "train", None, lambda row: '{"id": "ms-1", ', "is not valid JSON"),
    (
        "market_sentiment",
        "train",
        None,
        lambda row: '["a", "list"]',
        "is list; wants an object with fields",
    ),
    (
        "summaries",
        "train",
        None,
        lambda row: json.dumps({**row, "summary": "\ud83d"}),
        "half a surrogate pair",
    ),
    ("summaries", "train", None, put(summary=["a"]), '"summary" is list; wants text'),
    (
        "qa_spans",
        "train",
        "answered",
        answers(lambda a: {**a, "answer_start": [a["answer_start"][0] + 1]}),
        "not the",
    ),
    (
        "qa_spans",
        "train",
        "answered",
        answers(lambda a: {**a, "answer_start": [-5]}),
        "at offset -5 the context has",
    ),
    (
        "qa_spans",
        "train",
        "answered",
        answers(lambda a: {**a, "answer_start": [10**6]}),
        "at offset 1000000",
    ),
    (
        "qa_spans",
        "train",
        "answered",
        answers(lambda a: {**a, "answer_start": ["3"]}),
        "wants a list of whole numbers",
    ),
    (
        "qa_spans",
        "train",
        "answered",
        answers(lambda a: {**a, "answer_start": [True]}),
        "wants a list of whole",
    ),
    (
        "qa_spans",
        "train",
        "answered",
        answers(lambda a: {**a, "answer_start": 3}),
        "wants a list of whole numbers",
    ),
    (
        "qa_spans",
        "train",
        "answered",
        answers(lambda a: {**a, "answer_start": []}),
        "has 1 texts and 0 offsets",
    ),
    (
        "qa_spans",
        "train",
        "answered",
        answers(lambda a: {**a, "text": "one"}),
        "text is str; wants a list",
    ),
    (
        "qa_spans",
        "train",
        "answered",
        answers(lambda a: {"text": [""], "answer_start": [0]}),
        "text number 1 is empty",
    ),
    (
        "qa_spans",
        "train",
        "answered",
        answers(lambda a: {"text": a["text"]}),
        "has text; wants text and answer_start",
    ),
    ("qa_spans", "test", None, put(answers=[]), '"answers" is list; wants an object'),
    ("qa_spans", "test", None, put(context=""), '"context" is empty'),
    (
        "translation_en_zh",
        "test_free",
        None,
        put(translation={"en": "Only English."}),
        "has en; wants en and zh",
    ),
    (
        "translation_en_zh",
        "train",
        None,
        put(translation={"en": "A.", "zh": ""}),
        '"translation", zh is empty',
    ),
    (
        "translation_en_zh",
        "train",
        None,
        put(translation={"en": "A.", "zh": 4}),
        '"translation", zh is int; wants',
    ),
    (
        "translation_en_zh",
        "train",
        None,
        put(translation="A. / B."),
        '"translation" is str; wants an object',
    ),
    (
        "catalogue",
        "train",
        None,
        put(product_ids=["P999"]),
        "\"product_ids\" has 'P999', which is not in products",
    ),
    (
        "catalogue",
        "train",
        None,
        put(product_ids=[]),
        '"product_ids" is empty; wants at least one id',
    ),
    (
        "catalogue",
        "train",
        None,
        put(product_ids=["P001", "P001"]),
        '"product_ids" names an id twice: P001, P001',
    ),
    ("catalogue", "train", None, put(product_ids="P001"), '"product_ids" is str; wants a list'),
    (
        "catalogue",
        "train",
        None,
        put(product_ids=[1]),
        '"product_ids" number 1 is int; wants text',
    ),
    ("catalogue", "products", None, put(price=0), '"price" is 0; wants a number above 0'),
    ("catalogue", "products", None, put(price="39"), "\"price\" is '39'; wants a number above 0"),
    (
        "catalogue",
        "products",
        None,
        put(price=float("nan")),
        '"price" is nan; wants a number above 0',
    ),
    ("catalogue", "products", None, put(price=True), '"price" is True; wants a number above 0'),
    ("catalogue", "products", None, put(attributes="red"), '"attributes" is str; wants an object'),
    (
        "catalogue",
        "products",
        None,
        put(attributes={"colour": "red"}),
        '"attributes" has no "type"; it has colour',
    ),
    (
        "catalogue",
        "products",
        None,
        attributes(colour=["red"]),
        "\"attributes\", colour is ['red']; wants text",
    ),
    ("catalogue", "products", None, attributes(colour=""), '"attributes", colour is empty'),
    (
        "catalogue",
        "products",
        None,
        attributes(weight_g=float("inf")),
        '"attributes", weight_g is inf; wants text',
    ),
]


@pytest.mark.parametrize(
    ("name", "part", "fits", "damage", "wants"),
    DAMAGES,
    ids=[f"{case[0]}: {case[4]}" for case in DAMAGES],
)
def test_a_damaged_row_is_named(tmp_path, name, part, fits, damage, wants):
    folder = copy_of(name, tmp_path)
    file = folder / f"{part}.jsonl"
    line = first_line(file, lambda row: fits is None or bool(row["answers"]["text"]))
    change_line(file, line, damage)
    with pytest.raises(ValueError, match=re.escape(f"{file}: line {line}")) as caught:
        load_task(name, path=folder)
    assert wants in str(caught.value)
    if part == "products":
        with pytest.raises(ValueError, match=re.escape(f"{file}: line {line}")):
            load_products(folder)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_whole_copy_loads_and_a_missing_split_is_named(tmp_path, name):
    folder = copy_of(name, tmp_path)
    assert load_task(name, path=folder).num_rows == load_task(name).num_rows
    parts = [*TASKS[name].splits, *(["products"] if name == "catalogue" else [])]
    for part in parts:
        (folder / f"{part}.jsonl").rename(folder / "away")
        with pytest.raises(FileNotFoundError, match=re.escape(str(folder / f"{part}.jsonl"))):
            load_task(name, path=folder)
        (folder / "away").rename(folder / f"{part}.jsonl")


@pytest.mark.parametrize("name", sorted(TASKS))
def test_an_id_used_twice_is_named_with_both_places(tmp_path, name):
    folder = copy_of(name, tmp_path)
    first, last = (
        folder / f"{split}.jsonl" for split in (TASKS[name].splits[0], TASKS[name].splits[-1])
    )
    taken = json.loads(first.read_text(encoding="utf-8").split("\n")[4])["id"]
    change_line(last, 3, put(id=taken))
    with pytest.raises(ValueError) as caught:
        load_task(name, path=folder)
    assert str(caught.value) == f'{last}: line 3: "id" {taken!r} is taken by {first}: line 5'


@pytest.mark.parametrize("name", sorted(TASKS))
def test_bytes_that_are_not_utf8_are_named(tmp_path, name):
    folder = copy_of(name, tmp_path)
    file = folder / f"{TASKS[name].splits[1]}.jsonl"
    lines = file.read_bytes().split(b"\n")
    lines[6] = lines[6].replace(b'"', b'"\xe9', 4)
    file.write_bytes(b"\n".join(lines))
    with pytest.raises(
        ValueError, match=re.escape(f"{file}: line 7 is not valid UTF-8 (byte 0xe9)")
    ):
        load_task(name, path=folder)


def test_a_file_cut_short_and_an_empty_file_are_named(tmp_path):
    folder = copy_of("summaries", tmp_path)
    file = folder / "train.jsonl"
    rows = file.read_text(encoding="utf-8").count("\n")
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ValueError, match=re.escape(f"{file}: line {rows} is not valid JSON")):
        load_task("summaries", path=folder)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=re.escape(f"{file}: is empty")):
        load_task("summaries", path=folder)


def test_second_labels_are_checked(tmp_path):
    folder = copy_of("market_sentiment", tmp_path)
    file = folder / "second_labels.jsonl"
    untouched = file.read_text(encoding="utf-8")
    for damage, wants in [
        (put(id="ms-9999"), "\"id\" 'ms-9999' is in no split of market_sentiment"),
        (put(label="mixed"), "\"label\" is 'mixed'; wants one of"),
        (without("label"), 'has no "label"'),
    ]:
        change_line(file, 2, damage)
        with pytest.raises(ValueError, match=re.escape(f"{file}: line 2")) as caught:
            load_second_labels("market_sentiment", folder)
        assert wants in str(caught.value)
        file.write_text(untouched, encoding="utf-8", newline="\n")
    with pytest.raises(
        ValueError, match="wants a classified set, one of support_intent, market_sentiment"
    ):
        load_second_labels("summaries")
    file.unlink()
    with pytest.raises(FileNotFoundError, match="second_labels.jsonl"):
        load_second_labels("market_sentiment", folder)


def test_wrong_arguments_are_named():
    with pytest.raises(
        ValueError, match="name: got 'sentiment'; wants one of catalogue, market_sentiment"
    ):
        load_task("sentiment")
    with pytest.raises(
        ValueError, match="split: got 'dev'; wants None or one of train, validation, test"
    ):
        load_task("summaries", "dev")
    for limit in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="limit: got"):
            load_task("summaries", limit=limit)
    with pytest.raises(FileNotFoundError, match=r"nowhere.train\.jsonl: no such file"):
        load_task("summaries", path="nowhere")


def test_loading_leaves_no_files_behind():
    before = {path for path in DATA.rglob("*")}
    for name in task_names():
        load_task(name)
    assert {path for path in DATA.rglob("*")} == before

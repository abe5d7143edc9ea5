"""The shipped sets: sizes, features, no leakage, and cards whose numbers are those of the data."""

import json
import re
import subprocess
import sys
import time
import unicodedata
from collections import Counter

import pytest
from datasets import ClassLabel, Translation

from moe_lib.paths import DATA
from moe_lib.text.tasks import load_products, load_task, task_names

TEXT_COLUMNS = {
    "support_intent": ("text",),
    "market_sentiment": ("text",),
    "qa_spans": ("context", "question"),
    "translation_en_zh": ("en", "zh"),
    "summaries": ("text", "summary"),
    "catalogue": ("request",),
}


@pytest.fixture(scope="module")
def tasks():
    return {name: load_task(name) for name in task_names()}


def all_rows(task):
    return [row for rows in task.values() for row in rows]


def card(name):
    return (DATA / "tasks" / name / "README.md").read_text(encoding="utf-8")


def test_each_set_has_the_size_that_was_asked_for(tasks):
    intents = tasks["support_intent"]["train"].features["intent"]
    languages = tasks["support_intent"]["train"].features["language"]
    kinds = Counter(
        (intents.int2str(row["intent"]), languages.int2str(row["language"]))
        for row in all_rows(tasks["support_intent"])
    )
    inside = {key: count for key, count in kinds.items() if key[0] != "out_of_scope"}
    assert len({intent for intent, _ in inside}) == 12
    assert sum(count for (_, language), count in inside.items() if language == "en") >= 1000
    assert sum(count for (_, language), count in inside.items() if language == "zh") >= 200
    assert kinds["out_of_scope", "en"] + kinds["out_of_scope", "zh"] >= 100
    assert len(all_rows(tasks["market_sentiment"])) >= 800
    assert {row["kind"] for row in all_rows(tasks["market_sentiment"])} == {"headline", "post"}
    passages = Counter(row["context"] for row in all_rows(tasks["qa_spans"]))
    assert len(passages) >= 120 and set(passages.values()) == {5}
    assert (
        0.18
        <= sum(not row["answers"]["text"] for row in all_rows(tasks["qa_spans"])) / passages.total()
        <= 0.22
    )
    assert len(all_rows(tasks["translation_en_zh"])) >= 1500
    assert {"test_combinations", "test_free"} < set(tasks["translation_en_zh"])
    assert len(all_rows(tasks["summaries"])) >= 240
    assert len(load_products()) >= 150 and len(all_rows(tasks["catalogue"])) >= 450


def test_features_are_those_of_the_field(tasks):
    assert isinstance(tasks["support_intent"]["test"].features["intent"], ClassLabel)
    assert tasks["market_sentiment"]["test"].features["label"].names == [
        "negative",
        "neutral",
        "positive",
    ]
    assert isinstance(tasks["translation_en_zh"]["train"].features["translation"], Translation)
    row = tasks["qa_spans"]["train"].filter(lambda row: row["answers"]["text"])[0]
    start, answer = row["answers"]["answer_start"][0], row["answers"]["text"][0]
    assert row["context"][start : start + len(answer)] == answer
    whole = [
        json.loads(line)
        for line in (DATA / "tasks/catalogue/products.jsonl").read_text("utf-8").splitlines()
    ]
    assert [json.loads(row["attributes"]) for row in load_products()] == [
        row["attributes"] for row in whole
    ]


def test_rows_and_labels_are_those_of_the_files(tasks):
    """Read independently, with json alone."""
    for name, task in tasks.items():
        for split, rows in task.items():
            lines = (
                (DATA / "tasks" / name / f"{split}.jsonl").read_text("utf-8").strip().split("\n")
            )
            expected = [json.loads(line) for line in lines]
            for column, feature in rows.features.items():
                values = list(rows[column])
                if isinstance(feature, ClassLabel):
                    values = [feature.int2str(value) for value in values]
                assert values == [row[column] for row in expected], (name, split, column)


def shingles(text):
    """Character 3-grams of the letters and digits, computed without the library."""
    kept = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).lower()).strip()
    return kept, frozenset(kept[i : i + 3] for i in range(max(1, len(kept) - 2)))


@pytest.mark.parametrize("name", sorted(TEXT_COLUMNS))
def test_no_text_stands_on_both_sides_of_a_split(tasks, name):
    for column in TEXT_COLUMNS[name]:
        sides = {}
        for split, rows in tasks[name].items():
            texts = (
                [pair[column] for pair in rows["translation"]]
                if "translation" in rows.features
                else rows[column]
            )
            sides[split] = {shingles(text) for text in set(texts)}
        train = sides.pop("train")
        by_gram = {}
        for index, (_, grams) in enumerate(train := sorted(train, key=str)):
            for gram in grams:
                by_gram.setdefault(gram, []).append(index)
        for split, texts in sides.items():
            assert not {text for text, _ in texts} & {text for text, _ in train}, (column, split)
            for text, grams in texts:
                common = Counter(index for gram in grams for index in by_gram.get(gram, ()))
                for index, count in common.items():
                    other = train[index]
                    assert count / (len(grams) + len(other[1]) - count) <= 0.7, (text, other[0])


def test_no_passage_frame_or_condition_stands_on_both_sides(tasks):
    def shared(task, values):
        found = [{value for row in rows for value in values(row)} for rows in task.values()]
        return len(set().union(*found)) < sum(len(part) for part in found)

    assert not shared(tasks["qa_spans"], lambda row: [row["title"]])
    assert not shared(
        tasks["translation_en_zh"], lambda row: [row["origin"]] if row["origin"] != "free" else []
    )
    lines = (DATA / "tasks/catalogue/conditions.tsv").read_text("utf-8").split("\n")[1:]
    conditions = dict(line.split("\t") for line in lines if line)
    assert not shared(tasks["catalogue"], lambda row: [conditions[row["id"]]])


def test_catalogue_answers_are_what_the_conditions_give(tasks):
    """Evaluate every condition over every product, as the card defines it."""
    products = [
        {
            **json.loads(row["attributes"]),
            **{key: row[key] for key in ("name", "category", "price")},
            "id": row["id"],
        }
        for row in load_products()
    ]
    said = {True: "yes", False: "no"}

    def holds(product, clause):
        key, sign, wanted = re.fullmatch(r"(\w+)(!=|=|<|>)(.*)", clause).groups()
        if key not in product:
            return sign == "!="
        value = product[key]
        if sign in "<>":
            return value < float(wanted) if sign == "<" else value > float(wanted)
        text = said[value] if isinstance(value, bool) else str(value)
        numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
        equal = any(text == one or (numeric and float(one) == value) for one in wanted.split("|"))
        return equal == (sign == "=")

    lines = (DATA / "tasks/catalogue/conditions.tsv").read_text("utf-8").split("\n")[1:]
    conditions = dict(line.split("\t") for line in lines if line)
    rows = all_rows(tasks["catalogue"])
    assert {row["id"] for row in rows} == set(conditions)
    for row in rows:
        clauses = conditions[row["id"]].split(",")
        assert row["product_ids"] == [
            p["id"] for p in products if all(holds(p, c) for c in clauses)
        ], row["id"]


def test_data_is_small_enough():
    files = [path for path in DATA.rglob("*") if path.is_file() and "checkpoints" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 10_000_000


@pytest.mark.slow
def test_cold_loading_is_quick():
    """Each set alone in a fresh process, against importing `datasets` there: far below, and never
    10 seconds."""
    code = """
import sys, time
start = time.process_time()
import datasets
imported = time.process_time()
from moe_lib.text import load_task
load_task(sys.argv[1])
print(imported - start, time.process_time() - imported)
"""
    for name in task_names():
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, name], capture_output=True, text=True, check=True
        )
        imported, loaded = map(float, done.stdout.split())
        assert loaded < 3 * imported or loaded < 2, (
            name,
            imported,
            loaded,
            time.perf_counter() - start,
        )
        assert loaded < 10, name


@pytest.mark.parametrize(
    "name", ["support_intent", "market_sentiment", "qa_spans", "summaries", "catalogue"]
)
def test_cards_count_the_rows_of_each_split(tasks, name):
    counts = [len(rows) for rows in tasks[name].values()]
    text = card(name).replace(",", "")
    if name == "catalogue":
        assert all(
            f"| `{split}.jsonl` | {len(rows)} |" in text for split, rows in tasks[name].items()
        )
    elif name == "summaries":
        assert "train {} validation {} test {}; {} in all".format(*counts, sum(counts)) in text
    elif name == "qa_spans":
        rows = [
            re.search(rf"^\| {split} \| \d+ \| (\d+) \|", text, re.MULTILINE)
            for split in tasks[name]
        ]
        assert [int(row[1]) for row in rows] == counts
    else:
        assert "| all | {} | {} | {} | {} |".format(*counts, sum(counts)) in text
        feature = tasks[name]["train"].features["intent" if name == "support_intent" else "label"]
        for index, label in enumerate(feature.names):
            column = "intent" if name == "support_intent" else "label"
            found = [list(rows[column]).count(index) for rows in tasks[name].values()]
            assert f"| {label} | {' | '.join(map(str, [*found, sum(found)]))} |" in text


def test_the_card_of_translation_counts_its_pairs(tasks):
    text = card("translation_en_zh").replace(",", "")
    for split, rows in tasks["translation_en_zh"].items():
        free = list(rows["origin"]).count("free")
        assert f"| `{split}.jsonl` | {len(rows)} | {len(rows) - free} | {free} |" in text

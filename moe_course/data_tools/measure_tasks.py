"""Measure the course's labelled sets again: the numbers of their cards.

python -m moe_course.data_tools.measure_tasks                     # all six
python -m moe_course.data_tools.measure_tasks market_sentiment    # one or more
"""

import json
import re
import sys
from collections import Counter

import numpy as np

from moe_course.data_tools.task_measures import (
    best_sentences,
    cross_duplicates,
    retrieval_recall,
    sentences,
    text_classifiers,
)
from moe_lib.console import Parser, first_paragraph, run_command
from moe_lib.errors import require, require_one_of
from moe_lib.text.tasks import load_products, load_second_labels, load_task, task_names
from moe_lib.text.tasks.schema import TASKS
from moe_lib.tuning.metrics import rouge


def measure(name: str) -> dict[str, object]:
    """All measures of one set, by a short description. Shares, accuracies and scores are from 0 to
    1.

    Raises ValueError if there is no such set or one of its files is damaged.
    """
    require_one_of("name", name, task_names())
    task = load_task(name)
    result: dict[str, object] = {f"rows, {split}": len(rows) for split, rows in task.items()}
    result["rows, all"] = sum(len(rows) for rows in task.values())
    result.update(_MEASURES.get(name, _classified)(name, task))
    for what, texts in _texts(name, task).items():
        found = cross_duplicates(texts)
        result[f"{what}: equal across splits"] = found["equal"]
        result[f"{what}: near copies across splits"] = found["near"]
        result[f"{what}: highest similarity"] = round(found["highest"], 3)
        result[f"{what}: that pair"] = " | ".join(text[:70] for text in found["pair"])
    return result


def _texts(name: str, task) -> dict[str, dict[str, list[str]]]:
    """The texts to compare across splits, by what they are. A passage with several questions counts
    once."""
    if name == "translation_en_zh":
        pairs = {split: list(rows["translation"]) for split, rows in task.items()}
        return {
            code: {split: [pair[code] for pair in part] for split, part in pairs.items()}
            for code in ("en", "zh")
        }
    columns = {
        "qa_spans": ("context", "question"),
        "summaries": ("text", "summary"),
        "catalogue": ("request",),
    }
    return {
        column: {split: list(dict.fromkeys(rows[column])) for split, rows in task.items()}
        for column in columns.get(name, ("text",))
    }


def _classified(name: str, task) -> dict[str, object]:
    column = TASKS[name].label
    group = "language" if "language" in task["test"].column_names else "kind"
    names = task["train"].features[column].names
    result: dict[str, object] = {}
    for split, rows in task.items():
        counts = Counter(rows[column])
        result[f"labels, {split}"] = ", ".join(
            f"{label} {counts[i]}" for i, label in enumerate(names)
        )
    majority = Counter(task["train"][column]).most_common(1)[0][0]
    truth = np.array(task["test"][column])
    result[f"majority label ({names[majority]}), accuracy on test"] = _share(truth == majority)
    feature = task["test"].features[group]
    groups = [
        feature.int2str(value) if hasattr(feature, "int2str") else value
        for value in task["test"][group]
    ]
    for kind, classifier in text_classifiers().items():
        classifier.fit(list(task["train"]["text"]), list(task["train"][column]))
        right = classifier.predict(list(task["test"]["text"])) == truth
        result[f"TF-IDF of {kind}, accuracy on test"] = _share(right)
        for part in sorted(set(groups)):
            result[f"TF-IDF of {kind}, {part} only"] = _share(right[np.array(groups) == part])
    return {**result, **_agreement(name, task, column, names)}


def _agreement(name: str, task, column: str, names: list[str]) -> dict[str, object]:
    second = load_second_labels(name)
    first = {
        row["id"]: names[row[column]]
        for rows in task.values()
        for row in rows
        if row["id"] in second
    }
    from sklearn.metrics import cohen_kappa_score

    pairs = [(first[row_id], label) for row_id, label in second.items()]
    return {
        "second labelling, rows": len(pairs),
        "second labelling, agreement": _share([a == b for a, b in pairs]),
        "second labelling, Cohen's kappa": round(
            float(cohen_kappa_score(*zip(*pairs, strict=True))), 3
        ),
    }


def _qa(name: str, task) -> dict[str, object]:
    rows = {split: list(part) for split, part in task.items()}
    every = [row for part in rows.values() for row in part]
    passages = list(dict.fromkeys(row["context"] for row in rows["train"]))
    fit_on = [sentence for passage in passages for _, sentence in sentences(passage)]
    hits = {}
    for split, part in rows.items():
        answered = [row for row in part if row["answers"]["text"]]
        found = best_sentences(
            [row["context"] for row in answered], [row["question"] for row in answered], fit_on
        )
        hits[split] = [
            start <= row["answers"]["answer_start"][0] < start + len(sentence)
            for (start, sentence), row in zip(found, answered, strict=True)
        ]
    return {
        "passages": len({row["context"] for row in every}),
        "unanswerable, share of all": _share([not row["answers"]["text"] for row in every]),
        "unanswerable, share of test": _share([not row["answers"]["text"] for row in rows["test"]]),
        "TF-IDF sentence holds the answer, all": _share(
            [hit for part in hits.values() for hit in part]
        ),
        "TF-IDF sentence holds the answer, test": _share(hits["test"]),
    }


def _summaries(name: str, task) -> dict[str, object]:
    lead = [sentences(text)[0][1] for text in task["test"]["text"]]
    scores = rouge(lead, list(task["test"]["summary"]))
    result = {f"first sentence on test, {kind}": round(score, 3) for kind, score in scores.items()}
    return {"themes": len({row["theme"] for rows in task.values() for row in rows}), **result}


def _translation(name: str, task) -> dict[str, object]:
    frames = {
        split: {o for o in rows["origin"] if o.startswith("grammar:")}
        for split, rows in task.items()
    }
    used = Counter(frame for found in frames.values() for frame in found)
    result: dict[str, object] = {
        "frames": len(used),
        "frames in more than one split": sum(count > 1 for count in used.values()),
    }
    split_into = {"en": r"[^\W\d_]+", "zh": r"\S"}  # words; characters, punctuation among them
    for code, pattern in split_into.items():
        types = {
            split: {
                w for pair in rows["translation"] for w in re.findall(pattern, pair[code].lower())
            }
            for split, rows in task.items()
        }
        for split in ("validation", "test_combinations", "test_free"):
            result[f"{code} types of {split} seen in train"] = _share(
                [word in types["train"] for word in types[split]]
            )
    return result


def _catalogue(name: str, task) -> dict[str, object]:
    products = load_products()
    index = {product: number for number, product in enumerate(products["id"])}
    texts = []
    for row in products:
        attributes = (f"{key} {value}" for key, value in json.loads(row["attributes"]).items())
        texts.append(" ".join([row["name"], row["category"], row["description"], *attributes]))
    wanted = [{index[product] for product in ids} for ids in task["test"]["product_ids"]]
    recalls = {k: retrieval_recall(texts, list(task["test"]["request"]), wanted, k) for k in (1, 5)}
    return {
        "products": len(products),
        **{f"TF-IDF recall@{k} on test": round(recalls[k], 3) for k in recalls},
    }


_MEASURES = {
    "qa_spans": _qa,
    "summaries": _summaries,
    "translation_en_zh": _translation,
    "catalogue": _catalogue,
}


def _share(values) -> float:
    return round(float(np.mean(list(values))), 3)


def main(arguments: list[str] | None = None) -> None:
    parser = Parser(
        prog="python -m moe_course.data_tools.measure_tasks", description=first_paragraph(__doc__)
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(task_names())}")
    names = parser.parse_args(arguments).names
    for name in names:
        require(name in TASKS, "NAME", name, f"one of {', '.join(task_names())}")
    for name in names or task_names():
        print(name)
        for what, value in measure(name).items():
            print(f"  {what}: {value}")


if __name__ == "__main__":
    sys.exit(run_command(main))

"""Loaders of stored studies."""

import json

from tests.course.wrong_input.made import STUDIES, changed, file, folder
from tests.wrong_input.table import (
    NAN,
    NATURAL,
    PATH,
    Entry,
)

STUDY = "moe_course.studies."

NOT_A_STUDY = [
    *PATH[:3],
    "",
    lambda: file("{}"),
    lambda: file("{"),
    lambda: file("[1]"),
    lambda: file({"runs": [1], "rule": [1], "parameters": {}}),
    lambda: file({"runs": "abc", "rule": "abc", "parameters": {}}),
    lambda: file({"runs": 5, "rule": 5, "parameters": {}}),
    lambda: file({"runs": [], "rule": [], "parameters": {}}),
    lambda: file({"runs": [{}], "rule": [{}], "parameters": {}}),
    lambda: folder() / "study.json",
]


def spoilt_study(name, field, **columns):
    """The stored study with one wrong column in its third row, a file for each."""

    def change(column, value):
        return lambda content: content[field][2].update({column: value})

    path = STUDIES / name
    return [
        lambda column=column, value=value: changed(path, change(column, value))
        for column, values in columns.items()
        for value in values
    ]


def loader(name, file_name, *wrong):
    """A loader of a stored study, which names the file."""
    return Entry(
        STUDY + name, lambda: dict(study=STUDIES / file_name), {"study": [*NOT_A_STUDY, *wrong]}
    )


def upcycling():
    return json.loads((STUDIES / "upcycling.json").read_text(encoding="utf-8"))


STORED = [
    loader(
        "phone_book.stored_runs",
        "phone_book.json",
        lambda: changed(STUDIES / "phone_book.json", lambda c: c.update(parameters=[])),
        lambda: changed(STUDIES / "phone_book.json", lambda c: c["parameters"].pop("dense")),
        lambda: changed(STUDIES / "phone_book.json", lambda c: c["parameters"]["dense"].clear()),
        *spoilt_study(
            "phone_book.json", "runs", design=[3, None], n_facts=[0, "8"], bits=["x", -1.0, NAN]
        ),
    ),
    loader(
        "phone_book.stored_rule",
        "phone_book.json",
        *spoilt_study("phone_book.json", "rule", unseen_recall=["x", 1.5], recall=[None]),
    ),
    loader(
        "grain.stored_runs",
        "grain.json",
        *spoilt_study("grain.json", "runs", error=["x", NAN, None], parts=[0], seed=[-1, "a"]),
    ),
    loader(
        "compression_study.stored_cases",
        "compression.json",
        *spoilt_study(
            "compression.json", "cases", rise=["x", NAN], way=[3], bytes=[0], domains=[1]
        ),
    ),
    loader(
        "compression_study.stored_drafts",
        "compression.json",
        *spoilt_study("compression.json", "drafts", draft=[3], window=[0], acceptance=[NAN, "x"]),
    ),
    loader(
        "expert_designs.stored_losses",
        "expert_designs.json",
        *spoilt_study(
            "expert_designs.json",
            "runs",
            scaled_gates=["no"],
            heldout_loss=[3, [1.0], {"a": 1.0}, {"100": "x"}, {"100": NAN}],
        ),
    ),
    Entry(
        STUDY + "running.stored_rows",
        lambda: dict(place="content", content={"runs": [{"a": 1}]}, field="runs", a=int),
        {
            "content": [
                {},
                None,
                [],
                {"runs": 5},
                {"runs": []},
                {"runs": [1]},
                {"runs": [{}]},
                {"runs": [{"a": "x"}]},
            ]
        },
    ),
    Entry(
        STUDY + "running.read_study",
        lambda: dict(study=STUDIES / "grain.json", runs=list),
        {"study": NOT_A_STUDY[:7]},
    ),
    Entry(
        STUDY + "upcycling_study.curve_of",
        lambda: dict(study=upcycling(), run="dense", seed=0),
        {
            "study": [{}, None, [], {"runs": 5}, {"runs": []}, {"runs": [{}]}, {"runs": [1]}],
            "run": ["nope", 3, None],
            "seed": [9, *NATURAL],
        },
    ),
    Entry(
        STUDY + "upcycling_study.shifted",
        lambda: dict(curve={0: 1.0}, tokens=5),
        {"curve": [None, {"a": 1.0}, {0: "x"}, [1.0]], "tokens": [1.5, "5", None]},
    ),
]

ENTRIES = [*STORED]

"""How checkpoints are made, and their cards."""

import json

import torch

from moe_course.checkpoints.recipes import RECIPES
from moe_lib.paths import CHECKPOINTS
from tests.course.wrong_input.made import STUDIES, file, folder, without
from tests.wrong_input.table import (
    COUNT,
    FLAG,
    NAN,
    PATH,
    TEXT,
    Entry,
)


def ids(*shape):
    return torch.ones(shape, dtype=torch.long)


def measured():
    """Of a shipped checkpoint."""
    path = CHECKPOINTS / "mini-v2" / "measured.json"
    return json.loads(path.read_text(encoding="utf-8"))


def generation():
    return json.loads((STUDIES / "generation.json").read_text(encoding="utf-8"))


LOSSES = {"0.002": 1.0}
MAKING = [
    Entry(
        "moe_course.checkpoints.cards.write_card",
        lambda: dict(folder=folder(), name="mini-v9", measured=measured()),
        {
            "folder": PATH,
            "name": ["", *TEXT],
            "measured": [
                {},
                None,
                [],
                {"about": {}},
                without(measured, "moe"),
                without(measured, "about", "recipe", "steps"),
                without(measured, "about", "recipe", "corpus", value="x"),
                without(measured, "unigram", "heldout_loss", "all"),
                without(measured, "moe", "heldout_loss", "all", value=NAN),
                without(measured, "dense", "parameters", value="x"),
            ],
        },
    ),
    Entry(
        "moe_course.checkpoints.cards.write_dense_card",
        lambda: dict(folder=folder(), name="mini-v9", measured=measured()),
        {"folder": PATH, "name": TEXT, "measured": [{}, None, without(measured, "dense")]},
    ),
    Entry(
        "moe_course.checkpoints.generation_card.write_generation_card",
        lambda: dict(content=generation(), folder=folder()),
        {
            "content": [
                {},
                None,
                [],
                without(generation, "about"),
                without(generation, "baselines", "summarise", "lead"),
                without(generation, "baselines", "translate", "copy", value={}),
                without(generation, "runs", value=[]),
                without(generation, "runs", value=[{"seed": 1}]),
                without(generation, "runs", 0, "write", "asked", value="x"),
            ],
            "folder": PATH,
        },
    ),
    Entry(
        "moe_course.checkpoints.recipes.make",
        lambda: dict(recipe=RECIPES["mini-causal"], scratch=folder()),
        {
            "recipe": [None, "mini-causal", {}],
            "scratch": [*PATH, lambda: file("x")],
            "out": [3, "", lambda: file("x")],
            "steps": [0, -1, "2", 1.5],
            "rows": [0, "all"],
        },
    ),
    Entry(
        "moe_course.checkpoints.recipes.train_design",
        lambda: dict(recipe=RECIPES["mini-causal"], kind="moe", texts=None, scratch=folder()),
        {"recipe": [None, "mini"], "kind": ["nope", None], "texts": [None, {}]},
    ),
    Entry(
        "moe_course.checkpoints.recipes.unigram_loss",
        lambda: dict(
            train_ids=ids(2, 3), batches=[dict(labels=ids(1, 3))], vocab_size=5, causal=True
        ),
        {
            "train_ids": [None, ids(2, 3) * 9, -ids(2, 3), torch.ones(2)],
            "batches": [[], None, [{"labels": -ids(1, 3)}], [{"labels": ids(1, 3) * 9}]],
            "vocab_size": COUNT,
            "causal": FLAG,
        },
    ),
    Entry(
        "moe_course.checkpoints.rate_trial.best_rate",
        lambda: dict(losses=LOSSES),
        {"losses": [{}, None, [], {"0.1": NAN}, {"0.1": "x"}]},
    ),
    Entry(
        "moe_course.checkpoints.rate_trial.try_rates",
        lambda: dict(recipe=RECIPES["mini-causal"], kind="moe", texts=None, scratch=folder()),
        {"recipe": [None, "mini"], "kind": ["nope"], "texts": [None]},
    ),
]

ENTRIES = [*MAKING]

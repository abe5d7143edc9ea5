"""Wrong input of the figures."""

from functools import partial
from types import SimpleNamespace

import pandas as pd
import torch

from moe_lib.model import make_router
from moe_lib.text import pack
from tests.views.comparisons import made_up
from tests.wrong_input.table import (
    COUNT,
    NAN,
    NATURAL,
    POSITIVE,
    TEXT,
    TEXTS,
    Entry,
)
from tests.wrong_input.tables.views import FIGURES, HALF, LAYER, MAPS

TABLE = pd.DataFrame([[0.1, 0.9], [0.5, 0.5]], columns=["a", "b"], index=["a", "b"])

WRONG_TABLE = [None, 3, "table", [[0.1]], {}, torch.zeros(2, 2), TABLE[[]], TABLE[:0]]

WORDS = TABLE.astype(str)

PAIRS = pd.DataFrame(
    {"model": ["trained", "seed 0"], "layer": 1, "equal tokens": [0.5, 0.2], "chance": 0.1}
)

RECORD = make_router("topk", 4, 6, 2).eval()(torch.randn(3, 4))

RUN = SimpleNamespace(moves=2.0, recall=0.5)


def selection(n_experts: int = 4) -> SimpleNamespace:
    return SimpleNamespace(relevance={1: [1 / n_experts] * n_experts}, experts={1: [0]}, p=0.2)


def runs() -> pd.DataFrame:
    return made_up().runs.assign(train_accuracy=0.9)


TENSORS = [None, 3, [[0.5]], torch.zeros(2), torch.zeros(2, 3), torch.zeros(2, 2).long()]

SELECTIONS = [*MAPS, {"a": selection(), "b": selection(5)}, dict.fromkeys("abcd", selection())]

SELECTIONS += [{3: selection()}, {"a": SimpleNamespace(relevance={})}]


def figure(name: str, wrong: dict, says: dict | None = None, **valid) -> Entry:
    return Entry(FIGURES + name, partial(dict, **valid), wrong, says or {})


ENTRIES = [
    figure(
        "overfitting.gap_figure",
        {"runs": [*WRONG_TABLE, TABLE, runs().drop(columns="n_train")]},
        runs=runs(),
    ),
    figure(
        "overfitting.effects_figure",
        {
            "effects": [*MAPS, {"a": {}}, {"a": {"b": 3}}, {"a": {"b": []}}, {3: {"b": [0.1]}}],
            "unit": [None, 3, {}, {"b": "nats"}, {"a": 3}],
        },
        effects={"a": {"b": [0.1, 0.2]}},
        unit="nats",
    ),
    figure(
        "overfitting.curves_figure",
        {
            "panels": [*MAPS, {"a": {"b": 3}}, {"a": {"b": TABLE[:0]}}, {"a": {"b": TABLE[["a"]]}}],
            "x": [None, 3, HALF],
            "y": [None, 3, {}, {"a": 3}, {"b": "b"}],
        },
        panels={"a": {"b": TABLE}},
        x="a",
        y={"a": "b"},
    ),
    figure(
        "preferences.domain_figure",
        {
            "tables": [*MAPS, {"a": TABLE, "b": TABLE[:1]}, {"a": WORDS}, {3: TABLE}],
            "even": [None, NAN, "0.5", True],
            "highest": [value for value in POSITIVE if value is not None],
            "label": TEXT,
        },
        tables={"a": TABLE},
        even=0.5,
    ),
    figure(
        "preferences.domain_words",
        {
            "tables": [*MAPS, {"a": TABLE, "b": TABLE[:1]}, {"a": WORDS}, {3: TABLE}],
            "even": [None, NAN, "0.5", True],
        },
        tables={"a": TABLE},
        even=0.5,
    ),
    figure(
        "preferences.interval_figure",
        {
            "shares": [
                *MAPS,
                {"a": (TABLE["a"],) * 2},
                {"a": (TABLE["a"][:1], *(TABLE["a"],) * 2)},
            ],
            "even": [None, NAN, "0.5", True],
        },
        shares={"a": (TABLE["a"],) * 3},
        even=0.5,
    ),
    figure("preferences.bits_figure", {"bits": [*WRONG_TABLE, WORDS], "title": TEXT}, bits=TABLE),
    figure(
        "preferences.coactivation_figure",
        {"tables": [*MAPS, *({"a": value} for value in TENSORS), {"a": torch.ones(1, 1)}]},
        tables={"a": torch.tensor([[1.0, 0.2], [0.4, 1.0]])},
    ),
    figure(
        "preferences.saturation_figure",
        {
            "steps": [None, 3, [], [0.5, 1.5], [-1, 0], ["0", "1"]],
            "found": TENSORS,
            "chance": TENSORS,
            "layers": [None, 3, [0.5, 1.5], [-1, 0], "12"],
        },
        steps=[0, 10],
        found=torch.rand(2, 2),
        chance=torch.rand(2, 2),
        layers=[1, 2],
    ),
    figure(
        "preferences.ablation_figure",
        {
            "rises": [*WRONG_TABLE, WORDS, TABLE[:1]],
            "random": [*WRONG_TABLE, TABLE[["a"]]],
        },
        rises=TABLE,
        random=TABLE,
    ),
    figure(
        "preferences.importance_figure",
        {
            "panels": [*MAPS, {"a": (torch.ones(2, 2),)}, {"a": (torch.ones(2, 2), torch.ones(2))}],
            "layers": [None, 3, [0.5, 1.5], [-1, 0], "12"],
            "xlabel": TEXT,
        },
        panels={"a": (torch.rand(2, 4), torch.rand(2, 4))},
        layers=[1, 2],
        xlabel="load",
    ),
    figure("routing.busiest", {"routing": [None, 3, "routing", {}]}, routing=RECORD),
    figure(
        "routing.routings_figure",
        {
            "routings": [*MAPS, {"a": 3}, {3: RECORD}, {"a": None}],
            "words": [3, "words", [1, 2, 3], ["one"]],
            "per_row": COUNT,
        },
        routings={"a": RECORD},
        words=["a", "b", "c"],
        per_row=2,
    ),
    figure(
        "routing.moves_figure",
        {
            "runs": [
                *MAPS,
                {"a": []},
                {"a": [3]},
                {"a": 3},
                {3: [RUN]},
                dict.fromkeys("abcdefg", [RUN]),
            ],
            "hollow": [None, 3, [3]],
        },
        runs={"a": [RUN]},
        hollow=["a"],
    ),
    figure(
        "seeds.dots_figure",
        {
            "rows": [*MAPS, {"a": []}, {"a": ["b"]}, {"a": 3}, {3: [1.0]}],
            "xlabel": TEXT,
            "hollow": [None, 3, [3]],
            "digits": NATURAL,
        },
        rows={"a": [0.1, 0.2]},
        xlabel="recall",
        hollow=["a"],
        digits=2,
    ),
    figure(
        "seeds.curves_figure",
        {"curves": [*MAPS, {"a": 3}, {"a": WORDS}, {3: TABLE}], "xlabel": TEXT, "ylabel": TEXT},
        curves={"a": TABLE.set_index(pd.Index([1, 2]))},
        xlabel="facts",
        ylabel="recall",
    ),
    figure(
        "mixture.plane_figure",
        {
            "points": [
                None,
                3,
                [[0.5, 1.0]],
                torch.zeros(2),
                torch.zeros(2, 3),
                torch.ones(2, 2).long(),
            ],
            "frames": [*MAPS, {"a": torch.zeros(3).long()}, {"a": torch.zeros(2)}],
        },
        points=torch.zeros(2, 2),
        frames={"a": torch.zeros(2, dtype=torch.long)},
    ),
    figure(
        "mixture.batch_reads_figure",
        {
            "touched": [*WRONG_TABLE, WORDS],
            "n_experts": COUNT,
            "reads": [*WRONG_TABLE, WORDS],
            "formula": [None, 3, [], [1.0], ["a", "b"]],
        },
        touched=TABLE.set_index(pd.Index([1, 2])),
        n_experts=16,
        reads=TABLE.set_index(pd.Index([1, 2])),
        formula=[2.0, 3.8],
    ),
    figure(
        "start.exchange_figure",
        {
            "lost": [*WRONG_TABLE, WORDS, TABLE[:1]],
            "changed": [*WRONG_TABLE, WORDS, TABLE[:1], TABLE[::-1]],
        },
        lost=TABLE,
        changed=TABLE[["a"]],
    ),
    figure(
        "start.same_expert_figure",
        {"results": [*WRONG_TABLE, PAIRS[1:], PAIRS.drop(columns="chance")]},
        results=PAIRS,
    ),
    figure("text.cost_figure", {"cost": [*WRONG_TABLE, WORDS]}, cost=TABLE),
    figure(
        "text.vocabulary_figure",
        {"curves": [*WRONG_TABLE, TABLE]},
        curves=TABLE.set_index(pd.Index([256, 512])),
    ),
    figure(
        "text.packing_figure",
        {
            "lengths": [None, 3, [], [0], [1.5], "12"],
            "packed": [None, 3, {}, torch.zeros(2, 2)],
            "end_token_id": NATURAL,
        },
        lengths=[3, 3],
        packed=pack([[2, 3, 4], [5, 6, 7]], 4, end_token_id=1),
        end_token_id=1,
    ),
    figure(
        "text.batch_figure",
        {
            "lines": [None, 3, {}, {"a": ["one"]}, {"a": 3}, {"a": [1, 2]}, {3: ["a", "b"]}],
            "picked": [None, [True, False], torch.zeros(2), torch.zeros(1, 2).bool()],
        },
        lines={"a": ["one", "two"]},
        picked=torch.tensor([True, False]),
    ),
    figure(
        "tuning.task_experts_figure",
        {"selections": SELECTIONS},
        selections={"a": selection()},
    ),
    figure(
        "tuning.reaching_p_figure",
        {"selections": SELECTIONS},
        selections={"a": selection()},
    ),
    figure(
        "tuning.expert_choice_words",
        {"selections": SELECTIONS, "layer": LAYER},
        selections={"a": selection()},
        layer=1,
    ),
    *(
        figure(
            f"writing.{name}",
            {
                "labels": [*TEXTS, []],
                "experts": [None, 3, "ab", [[0]], [[0], [-1]], [[0], ["1"]], [[0], [1, 2]]],
                "layers": [None, 3, "1", [0.5], [-1]],
                "prompt": TEXT,
            },
            labels=["a", "b"],
            experts=[[0], [1]],
            layers=[1],
        )
        for name in ("writing_figure", "writing_words")
    ),
    figure(
        "latent.turns_figure",
        {
            "turns": [None, 3, {}, {0: 3}, {0: [[1.0]]}, {"a": torch.eye(4)}],
            "merged": [None, 3, {}, {0: 3}, {1: torch.ones(2, 4)}],
            "differs": [None, 3, {}, {0: "a"}, {1: 0.0}],
        },
        turns={0: torch.eye(4)},
        merged={0: torch.ones(2, 4)},
        differs={0: 0.0},
    ),
    figure(
        "latent.timing_figure",
        {
            "milliseconds": [*MAPS, {64: 3}, {64: WORDS}, {"a": TABLE}, {-1: TABLE}],
            "ways": [None, 3, [], [3]],
        },
        milliseconds={64: TABLE},
        ways=[*TABLE.columns[:1]],
    ),
    figure(
        "serving.histories_figure",
        {
            "ways": [*MAPS, {"a": []}, {"a": [(0, 2, 1)]}, {"a": [(0, 1)]}, {"a": [("0", 1, 2)]}],
            "unit": TEXT,
        },
        ways={"a": [(0, 1, 2)]},
    ),
]

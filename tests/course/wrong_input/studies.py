"""Studies that are run, and their parts."""

from moe_course.studies import fine_tuning_study
from moe_course.studies.routers_and_facts import Design
from tests.course.wrong_input.made import SEED
from tests.wrong_input.table import (
    CALLBACK,
    COUNT,
    FLAG,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    POSITIVE,
    TEXTS,
    Entry,
)

STUDY = "moe_course.studies."

RUNS = [
    Entry(
        STUDY + "phone_book.run_study",
        dict,
        {
            "table": [*COUNT, 128**2 + 1],
            "facts": [None, 5, [0], ["5"], [128**2 + 1]],
            "seeds": COUNT,
            "steps": COUNT,
            "kept": ["a folder", 3],
        },
    ),
    Entry(STUDY + "phone_book.even_experts", lambda: dict(n=4), {"n": COUNT}),
    Entry(
        STUDY + "phone_book.steps_for", lambda: dict(n_facts=4), dict(n_facts=COUNT, steps=COUNT)
    ),
    Entry(
        STUDY + "phone_book.stored_bits",
        lambda: dict(bits=1.0, n_facts=4),
        dict(bits=NON_NEGATIVE, n_facts=NATURAL),
    ),
    Entry(
        STUDY + "phone_book_race.race",
        lambda: dict(facts=8, experts=4, chosen=2, report=lambda sides: True, steps=1),
        {
            "facts": [*COUNT, 128**2 + 1],
            "experts": COUNT,
            "chosen": [*COUNT, 5, 9],
            "report": [None, 3],
            "seed": SEED,
            "steps": COUNT,
        },
    ),
    Entry(STUDY + "grain.run_study", dict, dict(seeds=COUNT, steps=COUNT, kept=["a folder"])),
    Entry(STUDY + "compression_study.run_study", dict, dict(rows=COUNT, kept=["a folder"])),
    Entry(
        STUDY + "encoder_study.run_study",
        lambda: dict(tasks=["intents"], seeds=1),
        {"tasks": ["intents", ["nope"], None, 3, [3]], "seeds": COUNT},
    ),
    Entry(
        STUDY + "expert_cache_study.run_study",
        dict,
        dict(model=[None, 3], rows=COUNT, num_slots=COUNT),
    ),
    Entry(
        STUDY + "expert_designs.run_study",
        dict,
        dict(steps=COUNT, seeds=COUNT, rows=COUNT, evaluate_every=COUNT),
    ),
    Entry(
        STUDY + "upcycling_study.run_study",
        dict,
        dict(steps=COUNT, seeds=COUNT, every=COUNT, rows=COUNT),
    ),
    Entry(
        STUDY + "pretraining_study.run_study",
        dict,
        {
            "setting": ["nope", 3],
            "steps": COUNT,
            "seeds": COUNT,
            "every": COUNT,
            "rows": [0, "all"],
            "designs": ["moe", ["nope"], [3]],
            "scratch": ["a folder"],
        },
    ),
    Entry(
        STUDY + "fine_tuning_study.run_study",
        lambda: dict(task="intents", cases=fine_tuning_study.all_cases("intents")),
        {
            "task": ["nope", None, 3],
            "cases": [[], None, "MoE", ["MoE"]],
            "seeds": [3, [-1], ["0"], "012"],
            "scratch": ["a folder"],
            "callback": CALLBACK,
        },
    ),
    Entry(
        STUDY + "fine_tuning_study.run_now",
        lambda: dict(task="intents", methods=["MoE"], n_train=100, report=lambda row: True),
        {
            "task": ["nope", None],
            "methods": TEXTS[:3],
            "n_train": COUNT,
            "report": [None, 3],
        },
    ),
    Entry(STUDY + "generation_study.run_study", dict, dict(steps=COUNT, seeds=COUNT)),
    Entry(
        STUDY + "generation_study.run_one",
        lambda: dict(seed=0, data=None, judge=None),
        dict(data=[None, {}], seed=SEED),
    ),
    Entry(
        STUDY + "parameter_efficient_study.run_study",
        lambda: dict(rates={"full": 1e-3}, names=["full"]),
        {
            "rates": [None, {"full": 0}, {"full": "x"}, []],
            "names": TEXTS[:1],
            "seeds": [3, ["0"]],
            "steps": COUNT,
            "callback": CALLBACK,
        },
    ),
    Entry(
        STUDY + "overfitting_study.run_part",
        lambda: dict(part="limits"),
        {
            "part": ["nope", 3, None],
            "steps": [0, -1, "3", NAN],
            "seeds": [[], 3, ["0"], [-1]],
            "scratch": ["a folder"],
        },
    ),
]
PARTS_OF_STUDIES = [
    Entry(
        STUDY + "routers_and_facts.Design",
        lambda: dict(router="topk", learning_rate=0.1),
        {
            "router": ["nope", 3, None],
            "learning_rate": POSITIVE,
            "bias_speed": NON_NEGATIVE,
            "id_of": ["nope", None],
            "redraw_every": [*NATURAL, 5],
            "n_experts": [0, 3, "16"],
        },
    ),
    Entry(
        STUDY + "routers_and_facts.learn",
        lambda: dict(design=Design("topk", 0.1), steps=1),
        dict(design=[None, "fixed table"], seed=SEED, steps=COUNT),
    ),
    Entry(
        STUDY + "expert_designs.design_config",
        lambda: dict(name="few big", vocab_size=50),
        {
            "name": ["nope", 3, None],
            "vocab_size": COUNT,
            "scaled": FLAG,
        },
    ),
    Entry(
        STUDY + "grain.make_teacher",
        lambda: dict(parts=4, seed=0),
        dict(parts=[3, 0, "4", 4.0, None], seed=SEED),
    ),
    Entry(
        STUDY + "fine_tuning_study.make_case",
        lambda: dict(name="MoE", task="intents"),
        dict(name=["nope", 3], task=["nope", None], n_train=[7, "100", 0]),
    ),
    Entry(
        STUDY + "fine_tuning_study.score_answers",
        lambda: dict(said=["a"], asked=[["a"]]),
        dict(said=TEXTS, asked=["a", None, [3], ["text"]]),
    ),
    Entry(STUDY + "pretraining_study.small_config", lambda: dict(design="moe"), dict(design=["x"])),
]

ENTRIES = [*RUNS, *PARTS_OF_STUDIES]

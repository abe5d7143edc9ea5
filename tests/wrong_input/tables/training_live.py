"""Wrong input of upcycling, of live trainings, of their records and cures."""

from functools import cache
from pathlib import Path

import torch

from moe_lib import ModelConfig
from moe_lib.training import StepReport
from moe_lib.training.live import LiveTraining
from moe_lib.training.recorder import BalanceRecorder
from tests.wrong_input.models import IDS, Batches, config, new_model, small
from tests.wrong_input.table import (
    CALLBACK,
    COUNT,
    MODEL,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    PATH,
    Entry,
    Made,
)
from tests.wrong_input.tables.training import FLAGS, OPTIONAL_COUNT, folder

REPORT = StepReport({"step": 0, "loss": 1.0, "tokens": 4}, [torch.tensor([1, 2])])

REPORTS = [
    StepReport(REPORT.row, []),
    StepReport(REPORT.row, [torch.tensor([1, 2]), torch.tensor([1, 2, 3])]),
]

DENSE = dict(n_routed_experts=0, n_shared_experts=0)

UPCYCLED = dict(norm_topk_prob=True, moe_intermediate_size=8)

ENTRIES = [
    Entry(
        "moe_lib.training.upcycling.upcycle",
        lambda: dict(dense_model=new_model(**DENSE), config=config(**UPCYCLED)),
        {
            "dense_model": [*MODEL, torch.nn.Linear(2, 2), Made("with experts", lambda _: small())],
            "config": [None, "tiny", 3, {}, [], config(**DENSE)],
            "noise": [*NON_NEGATIVE, None],
            "virtual_groups": FLAGS,
            "seed": [*NATURAL, 2**64],
        },
    ),
    Entry(
        "moe_lib.training.live.LiveTraining",
        lambda: dict(model=new_model(), batches=Batches(), steps=1),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2)],
            "batches": [None, 3, "batches", [], {}],
            "steps": COUNT,
            "callback": [*CALLBACK, True],
            "on_change": [*CALLBACK, True],
        },
    ),
    Entry(
        "moe_lib.training.live.LiveTraining.change",
        lambda: dict(aux_loss_alpha=0.1),
        {
            "aux_loss_alpha": NON_NEGATIVE,
            "seq_aux": FLAGS,
            "hidden_size": [8],
            "unknown": [1],
        },
        call=lambda settings: LiveTraining(new_model(), Batches(), steps=1).change(**settings),
    ),
    Entry(
        "moe_lib.training.live.LiveTraining.wait",
        lambda: dict(timeout=1.0, step=None),
        {
            "timeout": [-1, "1", True, NAN, [1]],
            "step": [value for value in NATURAL if value is not None],
        },
        call=lambda arguments: finished().wait(**arguments),
    ),
    Entry(
        "moe_lib.training.live.fresh_model",
        lambda: dict(config=config(), seed=0),
        {"config": [None, "tiny", 3, {}, ModelConfig], "seed": [*NATURAL, 2**64]},
    ),
    Entry(
        "moe_lib.training.live.changeable",
        lambda: dict(config=config()),
        {"config": [None, "tiny", 3, {}, ModelConfig]},
    ),
    Entry(
        "moe_lib.training.recorder.BalanceRecorder",
        lambda: dict(name="run"),
        {
            "name": [None, 3, b"run", ["run"], True],
            "layer_numbers": [3, "01", [0.5], ["0"], [-1], [None], [True]],
            "steps": OPTIONAL_COUNT,
        },
    ),
    Entry(
        "moe_lib.training.recorder.BalanceRecorder.__call__",
        lambda: dict(report=REPORT),
        {"report": [None, 3, "report", {}, [], *REPORTS]},
        call=lambda arguments: BalanceRecorder()(**arguments),
    ),
    Entry(
        "moe_lib.training.routing_record.RoutingRecord",
        lambda: dict(model=small(), input_ids=IDS, steps=(1,), path=f"{folder()}/record"),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2), Made("dense", lambda _: small(**DENSE))],
            "input_ids": [None, "ids", [[1]], IDS.float(), IDS[0], IDS + 99],
            "steps": [None, 3, "12", ["1"], [0.5], [-1], [True]],
            "path": PATH,
        },
    ),
    Entry(
        "moe_lib.training.routing_record.read_routing_record",
        lambda: dict(path=record()),
        {"path": [*PATH, "", "a\0b"]},
    ),
    Entry(
        "moe_lib.training.cure_settings.Cure",
        lambda: dict(kind="none"),
        {
            "kind": [None, 3, "prayer", ["none"], True],
            "alpha": [*NON_NEGATIVE, None],
            "scope": [None, 3, "world", ["batch"], {}],
            "bias_update_speed": [*NON_NEGATIVE, None],
        },
        says={"kind": "cure"},
    ),
    Entry(
        "moe_lib.training.bias_update.update_selection_biases",
        lambda: dict(model=biased(), loads=[torch.ones(4)] * 2, speed=0.1),
        {
            "model": MODEL,
            "loads": [None, 3, "loads", [], [torch.ones(4)], [torch.ones(3)] * 2, [None, None]],
            "speed": [*NON_NEGATIVE, None],
        },
        says={"loads": "load"},
    ),
]


def biased():
    return new_model(router="biased_topk", scoring_func="sigmoid", norm_topk_prob=True)


@cache
def finished() -> LiveTraining:
    live = LiveTraining(new_model(), Batches(), steps=1)
    live.start()
    live.wait()
    return live


@cache
def record() -> Path:
    from moe_lib.training.routing_record import RoutingRecord

    path = Path(folder()) / "record.safetensors"
    RoutingRecord(small(), IDS, (0,), path)
    return path

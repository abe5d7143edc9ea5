"""Wrong input of pruning, merging and quantising."""

from functools import cache
from tempfile import mkdtemp

import torch

from tests.wrong_input.models import IDS, MASK, WRONG_IDS, WRONG_MASK, new_model, small
from tests.wrong_input.table import (
    CALLBACK,
    COUNT,
    FINITE,
    MODEL,
    NAN,
    NON_NEGATIVE,
    PATH,
    SHARE,
    TEXT,
    TOKENIZER,
    Entry,
    Made,
)

ROOM = "moe_lib.compression."
VIEW = "moe_lib.views.compression."
SEED = [-1, 0.5, False, "0", None, NAN, 2**64]
OURS = [*MODEL, torch.nn.Linear(2, 2)]
DENSE = Made("dense", lambda _: new_model(n_routed_experts=0, n_shared_experts=0))
MASKED = Made("masked", lambda _: new_model(causal=False))
READ = dict(model=[*OURS, DENSE], input_ids=WRONG_IDS, attention_mask=[m for m in WRONG_MASK])
ROW = torch.arange(4.0).double()
KEPT = {0: [0, 1, 2], 1: [1, 2, 3]}
PAIRS = {0: [(0, 1), (2, 3)]}
FOUR = (torch.arange(16.0).view(4, 4) + torch.arange(16.0).view(4, 4).T).fill_diagonal_(0)


def _case():
    from moe_lib.views.compression import CompressionCase

    return CompressionCase("pruning", "reap", 5, 0.1)


def _comparator():
    from moe_lib.views.compression import CompressionComparator

    return CompressionComparator([_case()], 10)


def read():
    return dict(model=small(), input_ids=IDS, attention_mask=MASK)


@cache
def quantised():
    from moe_lib.compression import quantise

    return quantise(small(), {"experts": 4})


@cache
def folder():
    from moe_lib.compression import save_quantised

    return save_quantised(quantised(), mkdtemp())


def weight():
    one = torch.ones(2).half()
    return dict(
        packed=torch.zeros(4).byte(), scale=one, zero=one, shape=(2, 8), bits=2, group_size=8
    )


ENTRIES = [
    Entry(ROOM + "expert_scores", read, READ),
    Entry(
        ROOM + "ExpertScores.by",
        lambda: dict(criterion="reap"),
        {"criterion": ["loss", None, 3, ["reap"]]},
        call=lambda arguments: _scores().by(**arguments),
    ),
    Entry(
        ROOM + "ablation_scores",
        read,
        READ | {"model": [*OURS, DENSE, MASKED], "progress": CALLBACK},
    ),
    Entry(
        ROOM + "random_scores",
        lambda: dict(model=small(), seed=0),
        {"model": [*OURS, DENSE], "seed": SEED},
    ),
    Entry(
        ROOM + "best_experts",
        lambda: dict(scores={0: ROW}, n=2),
        {"scores": [None, 3, ROW, {0: [1.0]}, {0: ROW * NAN}, {0: ROW.long()}], "n": [*COUNT, 5]},
    ),
    Entry(
        ROOM + "prune_experts",
        lambda: dict(model=small(), kept=KEPT),
        {
            "model": [*OURS, DENSE, Made("hash", lambda _: new_model(router="hash"))],
            "kept": [
                *(None, 3, [0], {}, {0: [0, 1]}, {0: [0, 1], 1: [0, 1, 2]}, {0: [0, 0], 1: [0, 1]}),
                *({0: [0, 4], 1: [0, 1]}, {0: [0], 1: [1]}, {0: ["0", 1], 1: [0, 1]}),
                {0: [0, 1], 1: [0, 1], 2: [0, 1]},
            ],
        },
    ),
    Entry(
        ROOM + "expert_distances",
        lambda: read() | dict(metric="output"),
        READ | {"metric": ["cosine", None, 3, ["output"]]},
    ),
    Entry(
        ROOM + "best_pairs",
        lambda: dict(distances=FOUR),
        {"distances": [None, [[0]], FOUR[:3], FOUR[:3, :3], FOUR * NAN, FOUR.triu(), FOUR[0]]},
    ),
    Entry(
        ROOM + "random_pairs",
        lambda: dict(n_experts=4, seed=0),
        {"n_experts": [*COUNT, 3], "seed": SEED},
    ),
    Entry(
        ROOM + "merge_experts",
        lambda: dict(model=small(), pairs=PAIRS, usage={0: ROW}),
        {
            "model": [*OURS, DENSE],
            "pairs": [None, 3, {2: PAIRS[0]}, {0: [(0, 1)]}, {0: [(0, 1), (1, 2)]}, {0: [0, 1]}],
            "usage": [None, 3, {}, {1: ROW}, {0: ROW[:3]}, {0: -ROW}, {0: ROW * NAN}, {0: [1]}],
        },
    ),
    Entry(
        ROOM + "MergedExperts",
        lambda: dict(
            gate_up_proj=torch.ones(2, 4, 3),
            down_proj=torch.ones(2, 3, 2),
            place=torch.tensor([0, 1]),
        ),
        {
            "gate_up_proj": [None, [[1.0]], torch.ones(2, 4), torch.ones(2, 4, 3).long()],
            "down_proj": [None, torch.ones(3, 3, 2), torch.ones(2, 3, 3)],
            "place": [None, [0], torch.tensor([0, 2]), torch.tensor([-1]), torch.ones(2)],
        },
    ),
    Entry(
        ROOM + "quantise",
        lambda: dict(model=small(), bits={"experts": 4}, method="nearest", group_size=8),
        {
            "model": OURS,
            "bits": [None, 4, {"heads": 4}, {"experts": 5}, {"experts": "4"}, {"experts": 4.5}],
            "method": ["best", None, 3],
            "group_size": COUNT,
            "squares": [3, {"embedding.weight": 1}, {}],
        },
    ),
    Entry(ROOM + "input_squares", read, READ),
    Entry(
        ROOM + "gptq_weight",
        lambda: dict(weight=torch.ones(2, 8), squares=torch.eye(8), bits=4, group_size=8),
        {
            "weight": [None, [1.0], torch.ones(8), torch.ones(2, 8).long(), torch.ones(2, 8) * NAN],
            "squares": [None, 3, torch.eye(7), torch.eye(8) * NAN],
            "bits": [1, 5, "4", None, 4.5],
            "group_size": COUNT,
        },
    ),
    Entry(
        ROOM + "quantise_weight",
        lambda: dict(weight=torch.ones(2, 8), bits=4, group_size=8, method="hqq"),
        {
            "weight": [None, [1.0], torch.ones(2).long(), torch.ones(2, 8) * NAN, torch.ones(0, 8)]
            + [torch.ones(2, 8) * 1e9],
            "bits": [1, 5, "4", None, 4.5],
            "group_size": COUNT,
            "method": ["best", None, 3],
        },
    ),
    Entry(
        ROOM + "QuantisedWeight",
        weight,
        {
            "packed": [None, torch.zeros(3).byte(), torch.zeros(4)],
            "scale": [None, torch.ones(2), torch.ones(3).half()],
            "zero": [None, torch.ones(2), torch.ones(2).half() * NAN],
            "bits": [5, None],
            "group_size": [3, 0, None],
        },
    ),
    Entry(
        ROOM + "save_quantised",
        lambda: dict(quantised=quantised(), folder=mkdtemp(), tokenizer=None),
        {"quantised": [None, small(), {}], "folder": PATH, "tokenizer": TOKENIZER[1:]},
    ),
    Entry(
        ROOM + "load_quantised",
        lambda: dict(folder=folder(), device="cpu"),
        {"folder": [*PATH, "no such folder"], "device": ["gpu", 3.5, "cuda:99"]},
    ),
    Entry(
        VIEW + "CompressionCase",
        lambda: dict(
            group="pruning", name="reap", n_bytes=5, rise=0.1, spread=0.0, flipped=0.5, domains={}
        ),
        {
            "group": TEXT,
            "name": TEXT,
            "n_bytes": COUNT,
            "rise": FINITE,
            "spread": NON_NEGATIVE,
            "flipped": SHARE,
            "domains": [3, {"a": NAN}, {"a": "1"}, ["a"]],
        },
    ),
    Entry(
        VIEW + "CompressionComparator",
        lambda: dict(cases=[_case()], whole=10),
        {"cases": [None, [], "cases", [3], _case(), [_case(), _case()]], "whole": COUNT},
    ),
    Entry(
        VIEW + "CompressionComparator.set",
        lambda: dict(group="pruning", case="reap"),
        {"group": ["merging", 3, ["pruning"]], "case": ["usage", 3, ["reap"]]},
        call=lambda arguments: _comparator().set(**arguments),
    ),
]

EXEMPT = {
    "moe_lib.compression.ExpertScores": "made by expert_scores",
    "moe_lib.compression.QuantisedModel": "made by quantise and load_quantised",
}


@cache
def _scores():
    from moe_lib.compression import expert_scores

    return expert_scores(small(), IDS)

"""Wrong input of experts left on disk, of the expert cache, and of the bytes of decoding."""

from functools import cache

import torch

from moe_lib import RoutingTrace
from tests.wrong_input.table import COUNT, FLAG, MODEL, Entry
from tests.wrong_input.tables.training import DEVICE, checkpoint

ROOM = "moe_lib.serving."


@cache
def offloaded():
    from moe_lib.serving import offload_experts

    return offload_experts(checkpoint(), 6)[0]


@cache
def trace():
    return RoutingTrace.from_arrays(torch.arange(24).view(1, 2, 6, 2) % 6, n_experts=6)


def player():
    from moe_lib.views.expert_cache import ExpertCachePlayer

    return ExpertCachePlayer(trace())


PLAYER = "moe_lib.views.expert_cache.ExpertCachePlayer"
ENTRIES = [
    Entry(
        PLAYER,
        lambda: dict(trace=trace(), layer=0, num_slots=3, policy="lru"),
        {
            "trace": [None, 3, "trace"],
            "layer": [9, -1, True, 0.5, "0"],
            "num_slots": [0, 1, 7, True, 2.5, "3"],
            "policy": ["best", 3, ["lru"]],
            "fitted_on": [3, "trace"],
            "tokenizer": [3, "course"],
            "max_tokens": COUNT,
        },
    ),
    Entry(
        PLAYER + ".set",
        lambda: dict(layer=1, num_slots=3, policy="lfu", token=2),
        {
            "layer": [9, -1, True, "0"],
            "num_slots": [0, 1, 7, True, "3"],
            "policy": ["best", 3],
            "prefetch": ["unknown", 3],
            "token": [0, 99, True, "1"],
        },
        call=lambda arguments: player().set(**arguments),
    ),
    Entry(
        ROOM + "offload_experts",
        lambda: dict(name_or_folder=checkpoint(), num_slots=6),
        {
            "name_or_folder": [None, 3, ""],
            "num_slots": [*COUNT, 1],
            "policy": ["belady", None, 3],
            "device": DEVICE,
        },
    ),
    Entry(
        ROOM + "cache_statistics",
        lambda: dict(model=offloaded()),
        {"model": MODEL, "reset": FLAG},
    ),
]
EXEMPT = {ROOM + "CacheStatistics": "a record that the library makes"}

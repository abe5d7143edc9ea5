"""Wrong input of experts left on disk, of the expert cache, and of the bytes of decoding."""

from functools import cache

from tests.wrong_input.table import COUNT, FLAG, MODEL, Entry
from tests.wrong_input.tables.training import DEVICE, checkpoint

ROOM = "moe_lib.serving."


@cache
def offloaded():
    from moe_lib.serving import offload_experts

    return offload_experts(checkpoint(), 6)[0]


ENTRIES = [
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

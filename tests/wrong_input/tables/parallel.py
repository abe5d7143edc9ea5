"""Wrong input of several processes: starting them, spreading a model over them."""

import tempfile
from functools import cache

import torch

from moe_lib.parallel import save_distributed
from moe_lib.parallel.cost import Cluster, Link
from moe_lib.parallel.measuring import measure_exchanges
from moe_lib.published import published
from tests.wrong_input.models import new_model
from tests.wrong_input.table import (
    COUNT,
    FLAG,
    MODEL,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    PATH,
    POSITIVE,
    SHARE,
    Entry,
)

NO_EXPERTS = [*MODEL, torch.nn.Linear(2, 2)]
FUNCTION = [None, 3, "posixpath", lambda: 1, "", ["a:b"]]

dense = published("DeepSeek 67B").sizes


def alone(arguments):
    """Refused for its arguments first; a process that is alone has nobody to exchange with."""
    try:
        measure_exchanges(**arguments)
    except ValueError as error:
        if "ranks" not in str(error):
            raise


@cache
def saved():
    return save_distributed(new_model(), tempfile.mkdtemp())


ENTRIES = [
    Entry("moe_lib.parallel.join", lambda: dict(timeout=1.0), {"timeout": [*POSITIVE, None]}),
    Entry("moe_lib.parallel.shard_experts", lambda: dict(model=new_model()), {"model": NO_EXPERTS}),
    Entry("moe_lib.parallel.shard_rest", lambda: dict(model=new_model()), {"model": NO_EXPERTS}),
    Entry("moe_lib.parallel.whole_model", lambda: dict(model=new_model()), {"model": NO_EXPERTS}),
    Entry(
        "moe_lib.parallel.save_distributed",
        lambda: dict(model=new_model(), folder=tempfile.mkdtemp()),
        {"model": NO_EXPERTS, "folder": PATH},
    ),
    Entry(
        "moe_lib.parallel.load_distributed",
        lambda: dict(model=new_model(), folder=saved()),
        {
            "model": NO_EXPERTS,
            "folder": PATH,
        },
    ),
    Entry(
        "moe_lib.parallel.recompute_activations",
        lambda: dict(model=new_model()),
        {"model": NO_EXPERTS, "on": FLAG},
    ),
    Entry(
        "moe_lib.parallel.launch",
        lambda: dict(function="posixpath:basename", ranks=1, arguments={"p": "a/b"}),
        {
            "function": FUNCTION,
            "ranks": COUNT,
            "arguments": [3, "p", ["p"]],
            "timeout": [*POSITIVE, None],
            "may_fail": [*FLAG, None],
            "missing": [3, (-1,), ("0",)],
        },
    ),
]

LINK = dict(alpha=1e-5, bandwidth=1e9)
CLUSTER = dict(device_flops=1e15, efficiency=0.4, devices_per_node=8)
PATHS = dict(inside=Link(**LINK), between=Link(**LINK))
SIZES, SECONDS = [1024, 2048, 4096], [1e-3, 2e-3, 4e-3]
NUMBERS = [None, 3, "123", [1, "2", 3], [1, -2, 3], [1, NAN, 3], [0, 1, 2]]
LOAD = torch.tensor([4, 1, 3, 2])
LOADS = [None, [4, 1, 3, 2], LOAD[None], -LOAD, LOAD * NAN, LOAD[:0]]
PLACE = [None, [0, 0, 1, 1], torch.tensor([0.0, 0, 1, 1]), torch.tensor([0, 0, 1, -1])]
NOT_FOUR = [*COUNT, 3, 8]  # neither divides 4
EXPERTS = torch.tensor([[0, 1], [2, 3]])

ENTRIES += [
    Entry(
        "moe_lib.parallel.cost.Link",
        lambda: dict(LINK),
        {"alpha": [*NON_NEGATIVE, None], "bandwidth": [*POSITIVE, None]},
    ),
    Entry(
        "moe_lib.parallel.cost.fit_link",
        lambda: dict(sizes=SIZES, seconds=SECONDS),
        {
            "sizes": [*NUMBERS, [5, 5, 5]],
            "seconds": [*NUMBERS, [1.0, 2.0], [3.0, 2.0, 1e-9]],
        },
    ),
    Entry(
        "moe_lib.parallel.cost.relative_errors",
        lambda: dict(link=Link(**LINK), sizes=SIZES, seconds=SECONDS),
        {"link": [None, 3, (1, 2)], "sizes": NUMBERS, "seconds": [*NUMBERS, [1.0]]},
    ),
    Entry(
        "moe_lib.parallel.cost.expected_devices",
        lambda: dict(n_experts=16, k=2, devices=4, limit=2),
        {"n_experts": COUNT, "k": [*COUNT, 9], "devices": [*COUNT, 3], "limit": [5, 0, "2", True]},
    ),
    Entry(
        "moe_lib.parallel.cost.Cluster",
        lambda: CLUSTER | PATHS,
        {
            "device_flops": [*POSITIVE, None],
            "efficiency": [*SHARE, None],
            "devices_per_node": COUNT,
            "inside": [None, 3, (1e-5, 1e9)],
            "between": [None, 3, (1e-5, 1e9)],
        },
    ),
    Entry(
        "moe_lib.parallel.cost.step_cost",
        lambda: dict(
            sizes=published("DeepSeek-V3").sizes,
            cluster=Cluster(**CLUSTER, **PATHS),
            tokens=10,
            expert_devices=16,
        ),
        {
            "sizes": [None, "DeepSeek-V3", dense],
            "cluster": [None, 3],
            "tokens": COUNT,
            "expert_devices": [*COUNT, 12],
            "context": NATURAL,
            "node_limit": [0, 1.5, "4", True],
            "bytes_out": [*POSITIVE, None],
            "bytes_back": [*POSITIVE, None],
            "parts": COUNT,
        },
    ),
    Entry(
        "moe_lib.parallel.cost.device_hours",
        lambda: dict(cost_of_tokens=1.0, tokens=10, all_tokens=1e9),
        {
            "cost_of_tokens": [*POSITIVE, None],
            "tokens": COUNT,
            "all_tokens": [*POSITIVE, None],
        },
    ),
    Entry(
        "moe_lib.parallel.measuring.measure_exchanges",
        lambda: dict(sizes=[1024], repeats=1),
        {"sizes": [None, 3, [0], ["1"], [1.5]], "repeats": COUNT},
        call=alone,
    ),
    Entry(
        "moe_lib.parallel.placement.in_order",
        lambda: dict(n_experts=4, devices=2),
        {"n_experts": COUNT, "devices": NOT_FOUR},
    ),
    Entry(
        "moe_lib.parallel.placement.pack",
        lambda: dict(load=LOAD, devices=2),
        {"load": LOADS, "devices": NOT_FOUR},
    ),
    Entry(
        "moe_lib.parallel.placement.replicate",
        lambda: dict(load=LOAD, copies=6),
        {"load": LOADS, "copies": [*COUNT, 3]},
    ),
    Entry(
        "moe_lib.parallel.placement.balanced_copies",
        lambda: dict(load=LOAD, copies=6, devices=2),
        {"load": LOADS, "copies": [*COUNT, 3], "devices": [*COUNT, 4]},
        {"devices": "devices"},
    ),
    Entry(
        "moe_lib.parallel.placement.device_loads",
        lambda: dict(load=LOAD, place=torch.tensor([0, 0, 1, 1]), of=torch.tensor([0, 1, 2, 3])),
        {
            "load": LOADS,
            "place": [*PLACE, torch.tensor([0, 1])],
            "of": [[0, 1, 2, 3], torch.tensor([0, 1, 2, 4]), torch.tensor([0, 1, 2, 2])],
        },
    ),
    Entry(
        "moe_lib.parallel.placement.busiest_over_mean",
        lambda: dict(loads=LOAD),
        {"loads": LOADS},
        {"loads": "load"},
    ),
    Entry(
        "moe_lib.parallel.placement.devices_of_tokens",
        lambda: dict(experts=EXPERTS, place=torch.tensor([0, 0, 1, 1])),
        {"experts": [None, EXPERTS[0], EXPERTS + 1, EXPERTS - 1, EXPERTS.float()], "place": PLACE},
    ),
]

EXEMPT = {
    "moe_lib.parallel.cost.StepCost": "a record that `step_cost` fills",
    "moe_lib.parallel.Finished": "a record that `launch` fills",
    "moe_lib.parallel.RankLost": "an error",
    "moe_lib.parallel.Ranks": "a record that `here` fills",
    "moe_lib.parallel.Traffic": "takes no arguments",
    "moe_lib.parallel.guard": "takes words for a message",
    "moe_lib.parallel.here": "takes no arguments",
    "moe_lib.parallel.leave": "takes no arguments",
}

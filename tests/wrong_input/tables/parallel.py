"""Wrong input of several processes: starting them, spreading a model over them."""

import tempfile
from functools import cache

import torch

from moe_lib.parallel import save_distributed
from tests.wrong_input.models import new_model
from tests.wrong_input.table import COUNT, FLAG, MODEL, PATH, POSITIVE, Entry

NO_EXPERTS = [*MODEL, torch.nn.Linear(2, 2)]
FUNCTION = [None, 3, "posixpath", lambda: 1, "", ["a:b"]]


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
            "model": [*NO_EXPERTS, new_model(hidden_size=16), new_model(seq_aux=False)],
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

EXEMPT = {
    "moe_lib.parallel.Finished": "a record that `launch` fills",
    "moe_lib.parallel.RankLost": "an error",
    "moe_lib.parallel.Ranks": "a record that `here` fills",
    "moe_lib.parallel.Traffic": "takes no arguments",
    "moe_lib.parallel.guard": "takes words for a message",
    "moe_lib.parallel.here": "takes no arguments",
    "moe_lib.parallel.leave": "takes no arguments",
}

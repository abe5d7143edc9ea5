"""Wrong input of single routers, of the balance losses, of small layers."""

from functools import cache

import torch

from moe_lib.model import (
    ROUTERS,
    NoisyTopKRouter,
    make_router,
)
from tests.wrong_input.models import IDS
from tests.wrong_input.table import (
    COUNT,
    FLAG,
    INF,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    POSITIVE,
    Entry,
    Made,
)
from tests.wrong_input.tables.model import (
    MARKS,
    OPTIONAL_COUNT,
    REAL,
    ROUTER_OPTIONS,
    SIZES,
    TOPK_OPTIONS,
    VECTORS,
    X,
)


@cache
def record(noisy: bool = True):
    torch.manual_seed(0)
    kind = NoisyTopKRouter if noisy else ROUTERS["topk"]
    return kind(8, 4, 2)(torch.randn(6, 8))


RECORDS = [None, "routing", 3, {}, [], torch.zeros(6, 4), Made("a list of it", lambda a: [a])]

PLAIN = Made("without noise", lambda _: record(noisy=False))

LOADS = [None, "load", 3, [1, 2], torch.zeros(0), torch.zeros(2, 2), torch.tensor(1.0)]

LOADS += [torch.tensor([-1, 2]), torch.tensor([NAN, 1]), torch.tensor([INF, 1])]


def loss(name: str, wrong: dict | None = None, records=(), **more) -> Entry:
    return Entry(
        f"moe_lib.model.{name}",
        lambda: dict(routing=record(), mask=REAL, **more),
        {"routing": [*RECORDS, *records], "mask": MARKS, **(wrong or {})},
    )


def router(name: str) -> Entry:
    """One router with every option that it takes."""
    kind = ROUTERS[name]
    k = {"all": 4, None: 2}.get(kind.only_k, kind.only_k)
    groups = 2 if kind.needs_groups else 1
    known = {**ROUTER_OPTIONS, **TOPK_OPTIONS, "seed": [*NATURAL, 2**63]}
    known |= {"vocab_size": COUNT, "topk_group": [*OPTIONAL_COUNT, 3]}
    takes = set(kind.options)
    wrong = {key: values for key, values in known.items() if key in takes}
    if kind.needs_groups:
        wrong["capacity_per"] = wrong["capacity_per"][:-1]
    foreign = sorted(set(known) - takes - {"seed", "vocab_size"})
    wrong |= {key: known[key][:1] for key in foreign if known[key][0] is not None}
    needed = {"vocab_size": 20} if "vocab_size" in takes else {}
    return Entry(
        f"moe_lib.model.{kind.__name__}",
        lambda: dict(
            hidden_size=8, n_routed_experts=4, num_experts_per_tok=k, n_group=groups, **needed
        ),
        {**SIZES, "num_experts_per_tok": [*COUNT, 5], **wrong},
    )


def routed(name: str) -> Entry:
    """The call of a router."""
    kind = ROUTERS[name]
    k = {"all": 4, None: 2}.get(kind.only_k, kind.only_k)
    options = {"n_group": 2} if kind.needs_groups else {}
    options |= {"vocab_size": 20} if kind.by_token_id else {}
    ids = IDS[0]
    wrong_ids = ["ids", [1] * 6, ids[:5], ids.float(), ids - 50, ids + 50]
    return Entry(
        f"moe_lib.model.{kind.__name__}.forward",
        lambda: dict(x=X, input_ids=ids, mask=REAL, n_sequences=2),
        {
            "x": [one for one in VECTORS if not (kind.by_token_id and one is VECTORS[-2])],
            "mask": MARKS,
            "n_sequences": [0, -1, 4, 1.5, "2", None, True],
            "input_ids": [None, *wrong_ids] if kind.by_token_id else wrong_ids[:4],
        },
        call=lambda arguments: make_router(name, 8, 4, k, **options)(**arguments),
    )


POSITIONS = torch.arange(4)

ENTRIES = [
    *map(router, ROUTERS),
    *map(routed, ROUTERS),
    Entry(
        "moe_lib.model.BiasedTopKRouter.update_bias",
        lambda: dict(load=torch.tensor([1, 2, 3, 4]), speed=0.1),
        {
            "load": [None, [1, 2, 3, 4], 3, torch.zeros(3), torch.zeros(4, 1)],
            "speed": [*NON_NEGATIVE, None],
        },
        call=lambda arguments: make_router("biased_topk", 8, 4, 2).update_bias(**arguments),
    ),
    loss("expert_balance_loss", {"n_sequences": [*COUNT, 4]}),
    loss(
        "device_balance_loss", {"n_devices": [*COUNT, 3], "n_sequences": [*COUNT, 4]}, n_devices=2
    ),
    loss(
        "communication_balance_loss",
        {"n_devices": [*COUNT, 3], "max_devices": [*COUNT, 3], "n_sequences": [*COUNT, 4]},
        n_devices=2,
        max_devices=1,
    ),
    loss("router_z_loss"),
    loss("importance_loss", records=[PLAIN]),
    loss("load_loss", records=[PLAIN]),
    *(
        Entry(f"moe_lib.model.{name}", lambda: dict(load=torch.tensor([1, 2])), {"load": LOADS})
        for name in ("max_violation", "load_entropy")
    ),
    *(
        Entry(
            f"moe_lib.Routing.{name}",
            lambda: dict(mask=REAL),
            {"mask": MARKS},
            call=lambda arguments, name=name: getattr(record(), name)(**arguments),
        )
        for name in ("choices", "load", "kept_load", "dropped_share")
    ),
    Entry("moe_lib.model.KVCache", lambda: dict(room=4), {"room": OPTIONAL_COUNT}),
    Entry(
        "moe_lib.model.RMSNorm",
        lambda: dict(hidden_size=8, eps=1e-6),
        {"hidden_size": COUNT, "eps": [*POSITIVE, None]},
    ),
    Entry(
        "moe_lib.model.SwiGLU",
        lambda: dict(hidden_size=8, intermediate_size=8),
        {"hidden_size": COUNT, "intermediate_size": NATURAL, "bias": [*FLAG, None]},
    ),
    Entry(
        "moe_lib.model.Experts",
        lambda: dict(n_experts=2, hidden_size=8, intermediate_size=8),
        {"n_experts": COUNT, "hidden_size": COUNT, "intermediate_size": COUNT},
    ),
    Entry(
        "moe_lib.model.rotary_angles",
        lambda: dict(positions=POSITIONS, head_dim=4, theta=100.0),
        {
            "positions": [None, [0, 1], 3, "0", range(3)],
            "head_dim": [*COUNT, 3],
            "theta": [*POSITIVE, 1, None],
            "scaling": ["yarn", 3, [], {}, {"factor": 2.0}],
        },
    ),
]

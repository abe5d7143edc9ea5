"""Wrong input of the model: its passes, writing, layers, routers, balance."""

from functools import cache

import torch

from moe_lib.model import (
    KVCache,
    LanguageModel,
    MoELayer,
    RMSNorm,
    make_router,
)
from tests.wrong_input.models import IDS, MASK, WRONG_IDS, WRONG_MASK, config, small
from tests.wrong_input.table import (
    COUNT,
    FINITE,
    FLAG,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    Entry,
    Made,
)

OPTIONAL_COUNT = [value for value in COUNT if value is not None]

SEVERAL_LABELS = [IDS.float(), IDS[0], IDS[:, :2], IDS[None], IDS + 99, IDS * 0 - 100, IDS - 50]

LABELS = ["labels", [[1]], 3, IDS.numpy(), IDS.bool(), *SEVERAL_LABELS]

META = IDS.to("meta")


def masked() -> LanguageModel:
    return small(causal=False)


def cache_of(rows: int = 4, **changes) -> KVCache:
    """A cache that another model, or another batch, has filled with two positions."""
    held = KVCache()
    small(**changes)(IDS[:1, :2].expand(rows, -1), cache=held)
    return held


CACHES = [
    *({}, 3, "cache", [], True),
    Made("of a batch of another size", lambda _: cache_of(rows=1)),
    Made("of a wider model", lambda _: cache_of(hidden_size=16)),
    *(
        Made(f"of a model of {n} layers", lambda _, n=n: cache_of(num_hidden_layers=n))
        for n in (1, 3)
    ),
    Made("of a model with more heads", lambda _: cache_of(num_attention_heads=4)),
]

PASS = {
    "input_ids": [*WRONG_IDS, META, IDS.repeat(1, 6)],
    "attention_mask": [*WRONG_MASK, MASK.numpy()],
}

STOPS = ["3", [3.5], [20], [-1], None, True, [None], [True], {"a": 1}, 99, NAN]

WRITING = {
    **PASS,
    "attention_mask": [*WRONG_MASK, MASK.masked_fill(IDS == IDS[0, -1], 0).flip(1) * 0],
    "max_new_tokens": [*NATURAL, 99],
    "temperature": [*NON_NEGATIVE, None],
    "top_k": OPTIONAL_COUNT,
    "top_p": [*SHARE, 0],
    "stop_token_ids": STOPS,
    "pad_token_id": ["0", -1, 20, 0.5, True, None, [0, 1]],
    "use_cache": [*FLAG, None],
    "generator": [3, "cpu", 0, True, torch.Generator],
}


def on_model(method: str, valid, wrong, call=None) -> Entry:
    """A method of a small causal model."""

    def run(arguments):
        found = getattr(small(), method)(**arguments)
        return list(found) if method == "stream" else found

    return Entry(f"moe_lib.LanguageModel.{method}", valid, wrong, call=call or run)


REAL = torch.ones(6, dtype=torch.bool)

MARKS = ["mask", [1] * 6, 3, REAL[:5], REAL[None], True]

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))

VECTORS = [None, "x", 3, [[1.0] * 8], X.long(), X.bool(), X[:, :7], X.numpy()]

SIZES = {"hidden_size": COUNT, "n_routed_experts": COUNT, "num_experts_per_tok": COUNT}

ROUTER_OPTIONS = {
    "routed_scaling_factor": [*FINITE, None],
    "n_group": [*COUNT, 3],
    "capacity_factor": POSITIVE,
    "capacity_per": [None, 3, "both", ["expert"], "device"],
    "never_drop_share": [*SHARE, 0.5, None],
}

TOPK_OPTIONS = {
    "scoring_func": [None, 3, "relu", ["softmax"], True],
    "norm_topk_prob": [*FLAG, None],
}


@cache
def layer() -> MoELayer:
    return MoELayer(8, 8, 4, 2, 1)


ENTRIES = [
    Entry(
        "moe_lib.LanguageModel",
        lambda: dict(config=config()),
        {"config": [None, "tiny", 3, {"vocab_size": 20}, [], 20]},
    ),
    on_model(
        "forward",
        lambda: dict(input_ids=IDS, attention_mask=MASK, labels=IDS),
        {**PASS, "labels": [*LABELS, META], "last_logits_only": [True, "yes", 1]},
    ),
    on_model(
        "forward",
        lambda: dict(input_ids=IDS, last_logits_only=True),
        {"cache": CACHES, "last_logits_only": FLAG},
    ),
    on_model(
        "forward",
        lambda: dict(input_ids=IDS),
        {"cache": [Made("in a masked model", lambda _: KVCache())]},
        call=lambda arguments: masked()(**arguments),
    ),
    on_model("hidden_states", lambda: dict(input_ids=IDS, attention_mask=MASK), PASS),
    on_model(
        "generate",
        lambda: dict(input_ids=IDS, max_new_tokens=2, attention_mask=MASK, temperature=1.0),
        {**WRITING, "unknown": []},
    ),
    on_model(
        "stream",
        lambda: dict(input_ids=IDS, max_new_tokens=1, attention_mask=MASK, temperature=1.0),
        WRITING,
    ),
    Entry(
        "moe_lib.MoELayer",
        lambda: dict(
            hidden_size=8,
            moe_intermediate_size=8,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_shared_experts=1,
            router="topk",
        ),
        {
            **SIZES,
            "num_experts_per_tok": [*COUNT, 5],
            "moe_intermediate_size": COUNT,
            "n_shared_experts": NATURAL,
            "router": [None, 3, "unknown", "", ["topk"], RMSNorm(8), make_router("topk", 8, 3, 2)],
            "mlp_bias": [*FLAG, None],
            **ROUTER_OPTIONS,
            **TOPK_OPTIONS,
        },
    ),
    Entry(
        "moe_lib.MoELayer.forward",
        lambda: dict(x=X, mask=REAL),
        {
            "x": [*VECTORS, torch.tensor(1.0)],
            "input_ids": ["ids", [1] * 6, IDS[0][:5], IDS],
            "mask": MARKS,
        },
        call=lambda arguments: layer()(**arguments),
    ),
    Entry(
        "moe_lib.model.make_router",
        lambda: dict(name="topk", hidden_size=8, n_routed_experts=4, num_experts_per_tok=2),
        {
            "name": [None, 3, "unknown", "", ["topk"], {}, True],
            **SIZES,
            **ROUTER_OPTIONS,
            **TOPK_OPTIONS,
        },
    ),
]
INNER = "inside the layers, once or more in each: their doors check what goes in"

RECORD = "a record that the library fills in; readers look at it and do not make it"

EXEMPT = {
    **{
        f"moe_lib.model.{name}": INNER
        for name in ("run_loop", "run_masked", "run_sorted", "rotate", "visible_keys", "Router")
        + ("Attention", "LatentAttention")
    },
    **{f"moe_lib.model.{name}": RECORD for name in ("ModelOutput", "NewToken", "NoisyRouting")},
}

"""Wrong input of the methods of parameter-efficient tuning and of their files."""

import torch

from moe_lib.tuning.methods import (
    ESFT,
    AdaLoRA,
    AddedBias,
    BiasOnly,
    Full,
    HeadOnly,
    Houlsby,
    LoRA,
    Prefix,
    RouterOnly,
)
from tests.tuning.methods.promises import MLA
from tests.tuning.small import make_base
from tests.wrong_input.table import (
    COUNT,
    FLAG,
    INF,
    MODEL,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    PATH,
    POSITIVE,
    Entry,
    Made,
)
from tests.wrong_input.tuning_small import (
    BATCHES,
    HEAD,
    RATE,
    base,
    batches,
    classifier,
    dense,
    folder,
    fresh_base,
)

TARGETS = [None, 3, "attention", (), [], ("attention", 3), (None,), {"attention": 1}]
METHOD = [None, "LoRA", 3, {}, LoRA]
CONFIG = [None, "tiny", 3, {}, {"hidden_size": 16}]
EXPERTS = [None, 3, "0", {}, (), {0: []}, {0: 1}, {0: "1"}, {0: [1.7]}, {0: [True]}, {0: ["1"]}]
EXPERTS += [{0: [None]}, {0: [1, 1]}, {0.5: [1]}, {"0": [1]}, {True: [1]}, {0: None}, [3], [(0,)]]
EXPERTS += [((0, (1,), 2),), {0: [NAN]}]
# what attach refuses: the method's argument, and values that only the model shows to be wrong
UNFIT = [
    (LoRA, "rank", 17, {}),
    (LoRA, "rank", 9, {"targets": ("experts",)}),
    (LoRA, "targets", ("nowhere",), {}),
    (LoRA, "targets", ("embedding",), {}),
    (AdaLoRA, "init_rank", 17, {}),
    (AdaLoRA, "targets", ("nowhere",), {}),
    (ESFT, "experts", {9: [0]}, {}),
    (ESFT, "experts", {-1: [0]}, {}),
    (ESFT, "experts", {0: [4]}, {}),
    (ESFT, "experts", {0: [-1]}, {}),
]
KINDS = [AddedBias, BiasOnly, Full, HeadOnly, RouterOnly]
VALID = {LoRA: {"rank": 2}, AdaLoRA: {"init_rank": 2, "target_rank": 1}}
VALID |= {ESFT: {"experts": {0: [1]}}, Houlsby: {"bottleneck": 2}, Prefix: {"length": 2}}
NAMED = "moe_lib.tuning.methods."


def biased():
    return make_base(vocab_size=6144, attention_bias=True, **MLA)


def latent():
    return make_base(causal=True, **MLA)


def fresh(kind):
    return biased() if kind is BiasOnly else fresh_base()


def attach(kind, model, settings):
    attached = kind(**settings).attach(model)
    attached.detach()


def unfit(kind, argument: str, value, others: dict) -> Entry:
    return Entry(
        f"{NAMED}{kind.__name__}.attach",
        lambda: {**VALID[kind], **others},
        {argument: [value]},
        call=lambda arguments: attach(kind, fresh_base(), arguments),
    )


def on_attached(name: str, wrong: dict, **valid) -> Entry:
    def call(arguments):
        attached = LoRA(rank=2).attach(fresh_base())
        return getattr(attached, name)(**arguments)

    return Entry(f"{NAMED}Attached.{name}", lambda: dict(valid), wrong, call=call)


def other_targets(arguments):
    return LoRA(rank=2, targets=("experts",)).attach(latent())


def switch(arguments: dict):
    attached = LoRA(rank=2).attach(fresh_base())
    attached.enabled = arguments["enabled"]


def adapter() -> str:
    """The folder of an adapter of `base()`."""
    place = folder() / "adapter"
    if not place.exists():
        LoRA(rank=2).attach(fresh_base()).save(place)
    return str(place)


ENTRIES = [
    Entry(
        NAMED + "LoRA",
        lambda: dict(rank=2),
        {"rank": COUNT, "alpha": [*POSITIVE, None], "targets": TARGETS, "dropout": RATE},
    ),
    Entry(
        NAMED + "AdaLoRA",
        lambda: dict(init_rank=2, target_rank=1),
        {
            "init_rank": COUNT,
            "target_rank": [*COUNT, 3],
            "alpha": [*POSITIVE, None],
            "targets": [*TARGETS, ("experts",)],
            "tinit": NATURAL,
            "tfinal": COUNT,
            "deltaT": COUNT,
            "beta1": RATE,
            "beta2": RATE,
            "orth_reg": [*NON_NEGATIVE, None],
            "dropout": RATE,
        },
    ),
    Entry(
        NAMED + "Houlsby",
        lambda: dict(bottleneck=2),
        {"bottleneck": COUNT, "train_norms": FLAG},
    ),
    Entry(
        NAMED + "Prefix",
        lambda: dict(length=2, reparameterise=True),
        {"length": COUNT, "reparameterise": FLAG, "hidden": [x for x in COUNT if x is not None]},
    ),
    Entry(
        NAMED + "Prefix",
        lambda: dict(length=2),
        {"hidden": [8]},  # without an MLP it has no width
    ),
    Entry(
        NAMED + "ESFT",
        lambda: dict(experts={0: [1]}),
        {"experts": EXPERTS, "train_shared": FLAG, "train_router": FLAG},
    ),
    *(
        Entry(
            f"{NAMED}{kind.__name__}.attach",
            lambda kind=kind: dict(model=fresh(kind)),
            {"model": [*MODEL, torch.nn.Linear(2, 2), classifier()]},
            call=lambda arguments, kind=kind: kind(**VALID.get(kind, {})).attach(**arguments),
        )
        for kind in (*KINDS, *VALID)
    ),
    Entry(
        NAMED + "RouterOnly.attach",
        lambda: dict(model=fresh_base()),
        {"model": [dense()]},
        call=lambda arguments: RouterOnly().attach(**arguments),
    ),
    *(unfit(*one) for one in UNFIT),
    Entry(
        NAMED + "Method.attach",
        lambda: dict(model=fresh_base()),
        {"model": MODEL},
        call=lambda arguments: Full().attach(**arguments),
    ),
    on_attached("save", {"folder": [*PATH, ""]}, folder=str(folder() / "method")),
    Entry(NAMED + "Attached.enabled", lambda: dict(enabled=False), {"enabled": FLAG}, call=switch),
    Entry(
        NAMED + "Attached",
        lambda: dict(method=Full(), model=fresh_base()),
        {"model": MODEL},
        call=lambda arguments: Full.attached_class(**arguments),
    ),
    Entry(NAMED + "attached_to", lambda: dict(model=base()), {"model": MODEL}),
    Entry(
        NAMED + "count_trainable",
        lambda: dict(method=LoRA(rank=2), config=base().config),
        {"method": METHOD, "config": CONFIG},
    ),
    Entry(
        NAMED + "load_adapter",
        lambda: dict(folder=adapter(), model=fresh_base()),
        {
            "folder": [*PATH, "", "nowhere/at/all"],
            "model": [*MODEL, classifier(), base(True), dense()],
        },
        {"folder": ""},
    ),
    Entry(
        NAMED + "export_peft",
        lambda: dict(attached=LoRA(rank=2).attach(latent()), folder=str(folder() / "exported")),
        {
            "attached": [None, "LoRA", 3, {}, LoRA(rank=2), Made("on experts", other_targets)],
            "folder": PATH,
            "base": [3, b"a", ["a"]],
        },
    ),
    Entry(
        NAMED + "select_experts",
        lambda: dict(model=base(), batches=batches()),
        {
            "model": [*HEAD, dense()],
            "batches": BATCHES,
            "scores": ["loss", "", None, 3, ["gate"]],
            "p": [0, -0.1, 1.1, True, "0.1", NAN, INF, [0.1]],
        },
    ),
]
EXEMPT = {
    NAMED + "ExpertSelection": "a record that select_experts makes",
}

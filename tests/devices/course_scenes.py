"""What the notebooks train, on any device, for a few steps: scenes like those of `scenes.py`.

Trainings that stand in a notebook itself are taken out of it, cell by cell, so that what is tried
is what a reader runs.
"""

import os
from contextlib import contextmanager

import torch

from benchmarks import monitor, train_step
from moe_course.notebooks import normalise as form
from moe_course.studies import grain, hidden_rules, phone_book, routers_and_facts
from moe_course.studies.latent_timing import LatentCache
from moe_lib import LanguageModel, ModelConfig, RoutingMonitor, train
from moe_lib.devices import VARIABLE
from moe_lib.paths import REPOSITORY
from moe_lib.text import Batches
from moe_lib.training.recorder import BalanceRecorder


@contextmanager
def course_device(device: torch.device):
    """`moe_lib.device()` is this one meanwhile."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(device)
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


def on_course(play):
    """A scene of a function without arguments that gives named numbers or tensors."""

    def scene(device):
        with course_device(device):
            return {name: torch.as_tensor(value) for name, value in play().items()}

    return scene


def definitions(notebook: str, first_line: str, names: dict) -> dict:
    """The functions and tables of the notebook's cell that begins so, made with these names; what
    follows the last of them in the cell, from "picture, " on, is left out."""
    cells = form.read(REPOSITORY / "notebooks" / notebook).cells
    (source,) = [cell.source for cell in cells if cell.source.startswith(first_line)]
    exec(source.split("\npicture, ")[0], names)
    return names


def routers(name):
    return lambda: vars(routers_and_facts.learn(routers_and_facts.DESIGNS[name], steps=3))


def book():
    model, found = phone_book.learn("16 experts", phone_book.PhoneBook(256, 0, 64), 0.02, steps=3)
    return {**found, "embedding": model.embedding.weight}


def rules(kind):
    def play():
        layer, puzzle = hidden_rules.make_layer(kind), hidden_rules.HiddenRules(0)
        layer.to(os.environ[VARIABLE])
        return {"losses": hidden_rules.learn(layer, puzzle, steps=4)}

    return play


def collapse():
    """Chapter 06: what a collapse needs, by hooks and by freezing."""
    device = torch.device(os.environ[VARIABLE])
    draw = torch.Generator().manual_seed(0)
    sizes = dict(vocab_size=40, hidden_size=64, num_hidden_layers=2, num_attention_heads=2)
    experts = dict(n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=16)
    names = {
        "config": ModelConfig(**sizes, **experts, router="biased_topk", initializer_range=0.1),
        "practice": torch.randint(40, (16, 12), generator=draw),
        "DEVICE": device,
        **dict(torch=torch, train=train, Batches=Batches, LanguageModel=LanguageModel),
        "BalanceRecorder": BalanceRecorder,
    }
    torch.manual_seed(0)
    definitions("06_load_balance.ipynb", "def freeze(", names)
    definitions("06_load_balance.ipynb", "def shared(", names)
    definitions("06_load_balance.ipynb", "def collapse(", names)
    return {name: names["collapse"](change, 0, 4) for name, change in names["CHANGES"].items()}


def latent():
    """Chapter 08: the three ways of attending to a cache."""
    import math

    names = {"torch": torch, "math": math}
    definitions("08_latent_attention.ipynb", "def keys_and_values(", names)
    cache = LatentCache.random(20, latent=8, heads=3, n=6, r=4, v=5)
    keys, values = names["keys_and_values"](cache)
    return {
        "kept": names["attend_to"](cache.q, keys, values),
        "absorbed": names["attend_absorbed"](cache),
    }


def training_steps():
    """benchmarks.train_step: three steps of ours and of transformers' DeepSeek-V2."""
    config = train_step.QUICK["tiny"].replace(vocab_size=48)
    models = train_step.make_models(config, os.environ[VARIABLE])
    ids = torch.arange(32).view(2, 16).to(os.environ[VARIABLE])
    steps = {n: train_step.make_step(models[n], ids) for n in (train_step.OURS, train_step.EAGER)}
    return {name: [step() for _ in range(3)] for name, step in steps.items()}


def monitored():
    """benchmarks.monitor: what the monitor says of transformers' OLMoE while it trains."""
    model, step = monitor.make_step(16, 4, 2, 2, 8)
    with RoutingMonitor(model) as watch:
        step()
        step()
    return {"max_violation": list(watch.frame()["max_violation"])}


COURSE_SCENES = {
    "benchmark_train_step": on_course(training_steps),
    "benchmark_monitor": on_course(monitored),
    **{f"hidden_rules_{kind}": on_course(rules(kind)) for kind in ("learned", "frozen", "dense")},
    **{
        f"routers_{place}": on_course(routers(name))
        for place, name in enumerate(routers_and_facts.DESIGNS)
    },
    "collapse": on_course(collapse),
    "phone_book": on_course(book),
    "grain": on_course(lambda: {"error": grain.error_after(2, 2, 0.01, 0, steps=3)}),
    "latent_ways": on_course(latent),
}

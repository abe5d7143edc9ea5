"""One MoE layer learns a phone book by heart, under one router or another: chapter 05's experiment.

A fact is (first name, last name) -> one of 64 numbers, drawn at random. The sum of two embeddings
goes through 16 experts, of which a router gives each fact two; whatever the router, a fact passes
the same number of hidden units. So what is recalled in the end tells what the choice is worth.

The learning rate of each design is the best of RATES on a book that no other run uses
(`best_rates`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_course.studies.phone_book import NAMES, NUMBERS, PhoneBook
from moe_lib.devices import device
from moe_lib.errors import require, require_one_of
from moe_lib.model import ROUTERS, MoELayer, Routing, max_violation
from moe_lib.training.optimiser import StepSettings, make_optimiser
from moe_lib.validation import Choice, Count, Natural, NonNegative, Positive, Seed, checked

HIDDEN, EXPERTS, CHOSEN, WIDTH = 32, 16, 2, 8
FACTS, STEPS, BATCH, LOOK_EVERY = 6144, 240, 1024, 20
RATES = (0.02, 0.04, 0.06, 0.08, 0.12, 0.16)
TUNING_SEED = 100


@checked
@dataclass(frozen=True)
class Design:
    """How facts come to their experts.

    router         a name of `moe_lib.model.ROUTERS`; options are of its class
    learning_rate  the best of RATES for it
    bias_speed     of the selection bias, for a router that has one
    id_of          what a table looks up: "fact", each its own id; "nothing", the same id for all
    redraw_every   steps after which a table is drawn anew; 0: never
    n_experts      16, or 2: then all are always on, and nothing is chosen
    """

    router: str
    learning_rate: Positive
    options: dict = field(default_factory=dict)
    bias_speed: NonNegative = 0.0
    id_of: Choice("fact", "nothing") = "fact"
    redraw_every: Natural = 0
    n_experts: Choice(EXPERTS, CHOSEN) = EXPERTS

    def __post_init__(self):
        require_one_of("router", self.router, ROUTERS)
        table = not self.redraw_every or self.router == "hash"
        require(table, "redraw_every", self.redraw_every, f"0 with router {self.router!r}")


_SIGMOID = dict(scoring_func="sigmoid", norm_topk_prob=True)
DESIGNS: dict[str, Design] = {
    "softmax top-k": Design("topk", 0.08, dict(norm_topk_prob=True)),
    "sigmoid and bias (V3)": Design("biased_topk", 0.08, _SIGMOID, bias_speed=0.005),
    "expert choice": Design("expert_choice", 0.08),
    "fixed table": Design("hash", 0.08),
}
CONTROLS: dict[str, Design] = {
    "no choice: 2 experts, both on": Design("topk", 0.12, dict(norm_topk_prob=True), n_experts=2),
    "table drawn anew every 20 steps": Design("hash", 0.06, redraw_every=20),
    "table that sees no fact": Design("hash", 0.12, id_of="nothing"),
}


@dataclass(frozen=True)
class Learned:
    """What came of one run.

    recall         facts whose number is right, 0 to 1
    moves          times that a fact was given an expert which it had not had 20 steps before
    max_violation  of the load over all facts, at the end
    """

    recall: float
    moves: float
    max_violation: float


class FactLayer(nn.Module):
    """first, last, ids (facts,) int64 -> logits (facts, 64), Routing"""

    def __init__(self, design: Design):
        super().__init__()
        self.first, self.last = (nn.Embedding(NAMES, HIDDEN) for _ in range(2))
        options = dict(design.options)
        if design.router == "hash":
            options["vocab_size"] = NAMES**2
        sizes = HIDDEN, WIDTH, design.n_experts, CHOSEN
        self.moe = MoELayer(*sizes, router=design.router, **options)
        self.head = nn.Linear(HIDDEN, NUMBERS, bias=False)

    def forward(self, first: Tensor, last: Tensor, ids: Tensor) -> tuple[Tensor, Routing]:
        x = F.rms_norm(self.first(first) + self.last(last), (HIDDEN,))  # (facts, HIDDEN)
        update, routing = self.moe(x, ids)
        return self.head(F.rms_norm(x + update, (HIDDEN,))), routing


@checked
def learn(design: Design, seed: Seed = 0, steps: Count = STEPS) -> Learned:
    """Train a fresh layer on the book of this seed; ask for every fact."""
    facts = _facts(design, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FactLayer(design).to(device())
    settings = StepSettings(steps, design.learning_rate, 0.1, None, 0.0, 1.0, 1)
    optimiser = make_optimiser(model, design.learning_rate, settings.weight_decay)
    given, moves = None, 0.0
    for step in range(steps):
        if step % (FACTS // BATCH) == 0:
            order = torch.randperm(FACTS, generator=generator)
        if design.redraw_every and step % design.redraw_every == 0:
            draws = torch.rand(NAMES**2, EXPERTS, generator=generator)
            model.moe.router.table.copy_(draws.argsort(-1)[:, :CHOSEN])
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(step)
        start = step % (FACTS // BATCH) * BATCH
        chosen = order[start : start + BATCH]
        _step(model, optimiser, [part[chosen.to(part.device)] for part in facts], design.bias_speed)
        if (step + 1) % LOOK_EVERY == 0:
            before, given = given, _given(_ask(model, facts)[1])
            moves += 0.0 if before is None else float((given & ~before).sum() / FACTS)
    logits, routing = _ask(model, facts)
    right = (logits.argmax(-1) == facts[-1]).float().mean()
    return Learned(float(right), moves, max_violation(routing.load()))


@checked
def best_rates(designs: Mapping[str, Design]) -> dict[str, float]:
    """The rate of RATES with the best recall on a book of its own, per design."""
    found = {}
    for name, design in designs.items():
        tried = [dataclasses.replace(design, learning_rate=rate) for rate in RATES]
        recalls = {one.learning_rate: learn(one, TUNING_SEED).recall for one in tried}
        found[name] = max(recalls, key=recalls.__getitem__)
        print(f"{name}: {recalls}, best {found[name]}", flush=True)
    return found


def _facts(design: Design, seed: int) -> list[Tensor]:
    """first, last, ids, number, each (FACTS,) int64."""
    first, last, number = PhoneBook(FACTS, seed).input_ids.to(device()).unbind(1)
    first, last, number = first, last - NAMES, number - 2 * NAMES
    ids = first * NAMES + last
    return [first, last, ids if design.id_of == "fact" else torch.zeros_like(ids), number]


def _step(model: FactLayer, optimiser, batch: list[Tensor], bias_speed: float) -> None:
    *asked, number = batch
    logits, routing = model.train()(*asked)
    optimiser.zero_grad()
    F.cross_entropy(logits, number).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    if bias_speed:
        model.moe.router.update_bias(routing.load(), bias_speed)


@torch.no_grad()
def _ask(model: FactLayer, facts: list[Tensor]) -> tuple[Tensor, Routing]:
    return model.eval()(*facts[:-1])


def _given(routing: Routing) -> Tensor:
    """(facts, E) bool: who has whom."""
    given = torch.zeros_like(routing.scores, dtype=torch.long)
    return given.scatter_add(1, routing.experts, routing.choices().long()) > 0

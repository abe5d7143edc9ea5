"""The phone book: facts without a rule, to be learned by heart, by designs that do equal work.

    python -m moe_course.studies.phone_book         writes data/studies/phone_book.json
                                                    (about 50 minutes of one core, resumable)

A fact is (first name, last name) -> one of 64 numbers, drawn at random: nothing but storing it
helps. A causal model of one block reads two names and is asked for the number. All designs but
"wide" send a name through 2 x 16 hidden units, whatever they store beside them, so recall tells
what stored experts are worth at equal work (after Jelassi et al., "Mixture of Parrots", ICLR 2025,
arXiv 2410.19034). Runs of one seed share the facts and their order. The learning rate of each
design is the best of RATES on a book that no other run uses.

A `RuleBook` is the control: there the answer follows a rule (which of two names has the higher
hidden rank), and is asked for pairs that were never shown.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from moe_course.studies.running import STUDIES, about, kept_run, parser_of, rounded, runs_folder
from moe_lib.config import ModelConfig
from moe_lib.console import page, whole
from moe_lib.counting import count_parameters
from moe_lib.errors import require, require_whole
from moe_lib.files import write_json
from moe_lib.model import LanguageModel
from moe_lib.training import train

NAMES, NUMBERS = 128, 64  # first names, last names; numbers to remember
HIDDEN, WIDTH, CHOSEN = 32, 16, 2  # of the model; one expert; experts per token
STEPS, BATCH = 600, 1024
FACTS = (1024, 2048, 4096, 8192, 16384)
RATES = (0.005, 0.01, 0.02, 0.03)
SEEDS = 3
TUNING_SEED = 100  # of the book on which the rates are chosen
STUDY = STUDIES / "phone_book.json"

_EVEN = dict(router="biased_topk", scoring_func="sigmoid", norm_topk_prob=True)
_EVEN["bias_update_speed"] = 0.005


def _experts(n: int, **changes) -> dict:
    sizes = dict(n_routed_experts=n, num_experts_per_tok=CHOSEN, moe_intermediate_size=WIDTH)
    return {**sizes, **_EVEN, **changes}


DESIGNS: dict[str, dict] = {
    "dense": dict(intermediate_size=CHOSEN * WIDTH),
    "2 experts, both on": _experts(2),
    "4 experts": _experts(4),
    "8 experts": _experts(8),
    "16 experts": _experts(16),
    "32 experts": _experts(32),
    "64 slices, 8 on": _experts(64, num_experts_per_tok=8, moe_intermediate_size=WIDTH // 4),
    "16, no cure": _experts(16, bias_update_speed=0.0),
    "16, fixed table": _experts(
        16, router="hash", scoring_func="softmax", norm_topk_prob=False, bias_update_speed=None
    ),
    "wide": dict(intermediate_size=16 * WIDTH),
}


class PhoneBook:
    """`n_facts` random facts as batches for `train`.

    input_ids   (n_facts, 3): first name, last name, number, each from its own part of the
                vocabulary
    labels      the same with -100 at the names: only the number is asked for

    `.at(step)` gives a batch of `batch_size` facts; every epoch takes each fact once, in a new
    order. ValueError for more facts than there are pairs of names.
    """

    vocab_size = 2 * NAMES + NUMBERS

    def __init__(self, n_facts: int, seed: int = 0, batch_size: int = BATCH):
        require_whole("n_facts", n_facts)
        require_whole("seed", seed, at_least=0)
        require_whole("batch_size", batch_size)
        require(n_facts <= NAMES**2, "n_facts", n_facts, f"at most {NAMES**2}, the pairs of names")
        draw = torch.Generator().manual_seed(seed)
        pair = torch.randperm(NAMES**2, generator=draw)[:n_facts]
        number = torch.randint(NUMBERS, (n_facts,), generator=draw)
        self.input_ids = torch.stack(
            [pair // NAMES, NAMES + pair % NAMES, 2 * NAMES + number], dim=1
        )  # (n_facts, 3)
        self.labels = self.input_ids.clone()
        self.labels[:, :2] = -100
        self.seed, self.batch_size = seed, batch_size

    def __len__(self) -> int:
        """Batches per epoch."""
        return math.ceil(len(self.input_ids) / self.batch_size)

    def at(self, step: int) -> dict[str, Tensor]:
        epoch, place = divmod(step, len(self))
        order = torch.Generator().manual_seed(1_000_003 * (self.seed + 1) + epoch)
        chosen = torch.randperm(len(self.input_ids), generator=order)
        chosen = chosen[place * self.batch_size : (place + 1) * self.batch_size]
        return {"input_ids": self.input_ids[chosen], "labels": self.labels[chosen]}

    @torch.no_grad()
    def known(self, model: LanguageModel) -> tuple[Tensor, float]:
        """-> (n_facts,) bool, the facts whose number the model says; and its loss in bits per fact.

        Only the numbers compete: a model is not asked whether it knows that a number is due.
        """
        device = next(model.parameters()).device
        hits, bits = [], 0.0
        for ids in self.input_ids.to(device).split(4096):
            logits = model(ids).logits[:, 1, 2 * NAMES :].float()  # (facts, 64), after both names
            number = ids[:, 2] - 2 * NAMES
            hits.append(logits.argmax(-1) == number)
            loss = torch.nn.functional.cross_entropy(logits, number, reduction="sum")
            bits += float(loss) / math.log(2)
        return torch.cat(hits).cpu(), bits / len(self.input_ids)


class RuleBook(PhoneBook):
    """Which of the two names has the higher rank? Ranks are random and hidden; two numbers answer.

    Facts are `n_facts` of all pairs; `.unseen` holds the others, asked with `known` like a
    PhoneBook.
    """

    def __init__(self, n_facts: int, seed: int = 0, batch_size: int = BATCH):
        super().__init__(n_facts, seed, batch_size)
        draw = torch.Generator().manual_seed(seed + 1)
        rank = torch.randperm(2 * NAMES, generator=draw)
        every = torch.randperm(NAMES**2, generator=torch.Generator().manual_seed(seed))
        first, last = every // NAMES, NAMES + every % NAMES
        answer = 2 * NAMES + (rank[first] > rank[last]).long()
        rows = torch.stack([first, last, answer], dim=1)
        self.input_ids, self.unseen_ids = rows[:n_facts], rows[n_facts:]
        self.labels = self.input_ids.clone()
        self.labels[:, :2] = -100

    @property
    def unseen(self) -> "PhoneBook":
        """The pairs that are never trained on, as a book to ask."""
        other = PhoneBook(1, self.seed, self.batch_size)
        other.input_ids = self.unseen_ids
        return other


def design_config(design: str) -> ModelConfig:
    """The config of one of DESIGNS."""
    require(design in DESIGNS, "design", design, f"one of {', '.join(DESIGNS)}")
    return ModelConfig(
        vocab_size=PhoneBook.vocab_size,
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        rope_theta=100.0,
        initializer_range=0.1,
        tie_word_embeddings=False,
        **DESIGNS[design],
    )


def learn(
    design: str, book: PhoneBook, learning_rate: float, *, steps: int = STEPS, seed: int = 0, **more
) -> tuple[LanguageModel, dict]:
    """Train one design on a book -> the model, and what it knows: recall, bits per fact (loss), and
    MaxVio, the mean over the last tenth of the steps."""
    torch.manual_seed(seed)
    model = LanguageModel(design_config(design))
    options = dict(steps=steps, learning_rate=learning_rate, weight_decay=0.0, progress=False)
    history = train(model, book, **{**options, **more}).history
    known, bits = book.known(model)
    found = {"recall": float(known.double().mean()), "bits": bits}
    found["max_violation"] = float(history["max_violation"].tail(max(1, steps // 10)).mean())
    return model, found


def stored_bits(found: dict, n_facts: int) -> float:
    """Bits about the facts that a model holds: what guessing costs, log2 64 a fact, minus what is
    left to guess."""
    return n_facts * max(0.0, math.log2(NUMBERS) - found["bits"])


def best_rate(
    design: str, rates: Sequence[float] | None = None, steps: int = STEPS
) -> tuple[float, dict]:
    """The learning rate with the lowest loss on the tuning book -> it, and the loss of each."""
    book = PhoneBook(8192, seed=TUNING_SEED)
    losses = {
        rate: learn(design, book, rate, steps=steps, seed=TUNING_SEED)[1] for rate in rates or RATES
    }
    return min(losses, key=lambda rate: losses[rate]["bits"]), losses


def run_study(
    facts: Sequence[int] = FACTS, seeds: int = SEEDS, steps: int = STEPS, kept: Path | None = None
) -> dict:
    """Every design with every number of facts and seed; finished runs are taken from `kept`."""
    torch.set_num_threads(1)
    rates, runs = {}, []
    for design in DESIGNS:
        key = {"design": design, "fields": DESIGNS[design], "steps": steps}
        file = kept and kept / f"rate-{design.replace(' ', '-')}.json"
        best, tried = kept_run(file, key, lambda d=design: best_rate(d, steps=steps))
        rates[design] = {"best": best, "tried": tried}
        print(f"{design}: learning rate {best}", flush=True)
        for n_facts in facts:
            for seed in range(seeds):
                this = {**key, "n_facts": n_facts, "seed": seed, "rate": best}
                file = kept and kept / f"{design.replace(' ', '-')}-{n_facts}-{seed}.json"
                found = kept_run(file, this, lambda k=this: _one(k))
                runs.append({"design": design, "n_facts": n_facts, "seed": seed, **found})
                print(f"{n_facts} facts, seed {seed}: recall {found['recall']:.3f}", flush=True)
    sizes = {design: count_parameters(design_config(design)).as_dict() for design in DESIGNS}
    told = about("phone_book", steps=steps, batch=BATCH, seeds=seeds)
    return rounded({"about": told, "parameters": sizes, "rates": rates, "runs": runs})


def _one(key: dict) -> dict:
    book = PhoneBook(key["n_facts"], key["seed"])
    return learn(key["design"], book, key["rate"], steps=key["steps"], seed=key["seed"])[1]


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("phone_book", __doc__)
    parser.add_argument("--steps", type=whole(1), default=STEPS, help="fewer steps, to try it out")
    parser.add_argument("--seeds", type=whole(1), default=SEEDS)
    parser.add_argument("--out", type=page, default=STUDY)
    given = parser.parse_args(arguments)
    write_json(
        given.out,
        run_study(seeds=given.seeds, steps=given.steps, kept=runs_folder("phone_book")),
    )


if __name__ == "__main__":
    main()

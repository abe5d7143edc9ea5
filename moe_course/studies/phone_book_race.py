"""Two small models that learn a phone book side by side, for the widget of chapter 07: the same
experiment as `phone_book`, in ten seconds."""

from collections.abc import Callable, Iterator

from moe_course.studies.fact_books import PhoneBook
from moe_course.studies.phone_book import Facts, book_config, even_experts, stored_bits
from moe_lib.counting import count_parameters
from moe_lib.devices import device
from moe_lib.errors import require, require_divisor
from moe_lib.model import LanguageModel
from moe_lib.training.live import fresh_model
from moe_lib.training.optimiser import StepSettings, make_optimiser
from moe_lib.training.step import OptimiserStep
from moe_lib.validation import Count, Seed, checked
from moe_lib.views.phone_book.recall import Recall
from moe_lib.views.phone_book.widget import ACTIVE

HIDDEN, STEPS, LOOK_EVERY = 24, 300, 10
LEARNING_RATE = 0.02


@checked
def race(
    facts: Facts,
    experts: Count,
    chosen: Count,
    report: Callable[[list[Recall]], bool],
    *,
    seed: Seed = 0,
    steps: Count = STEPS,
) -> list[Recall]:
    """Train a dense model and one with experts on the same facts, by turns, a few steps each;
    `report` gets what both know, and ends the race by returning True -> the last report."""
    require(chosen <= experts, "chosen", chosen, f"at most experts ({experts})")
    require_divisor("chosen", chosen, ACTIVE, "the hidden units that a name passes")
    book = PhoneBook(facts, seed)
    experts_fields = even_experts(
        experts,
        num_experts_per_tok=chosen,
        moe_intermediate_size=ACTIVE // chosen,
        norm_topk_prob=chosen > 1,  # one gate over its sum is 1, and teaches the router nothing
    )
    name = "1 expert" if experts == 1 else f"{experts} experts"
    runs = {"dense": dict(intermediate_size=ACTIVE), name: experts_fields}
    models = {
        name: fresh_model(book_config(fields, HIDDEN), seed).to(device())
        for name, fields in runs.items()
    }
    trainings = [training(model, book, steps) for model in models.values()]
    done = 0
    while done < steps:
        turn = min(LOOK_EVERY, steps - done)
        done = [next(one) for one in trainings for _ in range(turn)][-1]
        sides = [_recall(name, model, book, done, steps) for name, model in models.items()]
        if report(sides):
            break
    return sides


def training(model: LanguageModel, book: PhoneBook, steps: int) -> Iterator[int]:
    """What `train` does, a step at each `next` -> the steps that are done."""
    settings = StepSettings(steps, LEARNING_RATE, 0.1, None, 0.0, 1.0, 1)
    optimiser = make_optimiser(model, LEARNING_RATE, settings.weight_decay)
    take_step = OptimiserStep(model, optimiser, steps, settings.accumulation, settings.clip)
    for step in range(steps):
        model.train()
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(step)
        take_step(book.at(step), step)
        yield step + 1


def _recall(name: str, model: LanguageModel, book: PhoneBook, step: int, steps: int) -> Recall:
    known, bits = book.known(model.eval())
    count = count_parameters(model.config)
    held = stored_bits(bits, len(known)) / count.total
    return Recall(name, step, steps, known.tolist(), held, count.total, count.active)

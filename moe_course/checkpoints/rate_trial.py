"""Which peak learning rate suits a design: short trainings of it at several rates, one seed each.

`python -m moe_course.checkpoints.rate_trial mini-v2 dense --scratch FOLDER` tries those of the next
bases; what is measured is kept in the folder and not measured again.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from moe_course.checkpoints.recipes import KINDS, NEXT_RECIPES, Recipe, train_design
from moe_course.checkpoints.texts import Texts
from moe_course.studies.running import field_of
from moe_lib.console import Parser, first_paragraph, new_folder, run_command
from moe_lib.errors import require
from moe_lib.files import read_json, write_json
from moe_lib.validation import Choice, Count, Finite, Positive, checked

RATES, STEPS = (2e-3, 4e-3, 8e-3), 120


@checked
def try_rates(
    recipe: Recipe,
    kind: Choice(*KINDS),
    texts: Texts,
    scratch: Path,
    rates: Sequence[Positive] = RATES,
    steps: Count = STEPS,
) -> dict[str, float]:
    """Held-out loss in nats on the watched rows after `steps` steps (their whole schedule), by peak
    rate.

    kind     "moe" or "dense"
    scratch  each run keeps its state in a folder there, and goes on from it
    """
    path = scratch / f"{recipe.name}-{kind}-{steps}-steps.json"
    losses = read_json(path) if path.is_file() else {}
    for rate in losses:
        field_of(path, losses, rate, Finite)
    for rate in rates:
        if str(rate) not in losses:
            tried = replace(recipe, learning_rate=rate, dense_learning_rate=rate, steps=steps)
            run = train_design(tried, kind, texts, scratch / f"rate-{rate}-{steps}-steps")
            losses[str(rate)] = float(run.history["heldout_loss"].iloc[-1])
            write_json(path, losses)
    return losses


@checked
def best_rate(losses: Mapping[str, Finite]) -> float:
    """The rate of the lowest loss; losses by rate, at least one."""
    require(len(losses) > 0, "losses", losses, "at least one rate and its loss")
    return float(min(losses, key=losses.get))


def main(arguments: list[str] | None = None) -> None:
    parser = Parser(
        prog="python -m moe_course.checkpoints.rate_trial", description=first_paragraph(__doc__)
    )
    parser.add_argument("name", choices=sorted(NEXT_RECIPES))
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--scratch", type=new_folder, required=True)
    chosen = parser.parse_args(arguments)
    recipe = NEXT_RECIPES[chosen.name]
    losses = try_rates(recipe, chosen.kind, Texts.of(recipe), chosen.scratch)
    print(json.dumps(losses), "best:", best_rate(losses))


if __name__ == "__main__":
    sys.exit(run_command(main))

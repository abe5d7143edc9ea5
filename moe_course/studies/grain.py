"""What finer experts bring: teachers whose knowledge comes in four small parts, or in one piece.

    python -m moe_course.studies.grain          writes data/studies/grain.json
                                                (about 2 minutes of one core)

A teacher looks at its input, 16 numbers, in `parts` respects. In each respect the signs of two
hidden directions say which of four rules holds, a linear map; the teacher's answer is the sum. The
rules of four respects are four times smaller than those of one: both teachers have the same size.

A student has 8 linear experts of 8 hidden units, of which it chooses 2; or the same cut into
slices, 16 of 4, of which it chooses 4, or 32 of 2, of which it chooses 8: the same parameters in
its experts, the same work. Its error is measured on inputs that it never saw, over the variance of
the answers. The learning rate of each student is the best of RATES with a teacher of another seed.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from moe_course.studies.running import (
    STUDIES,
    about,
    kept_run,
    parser_of,
    read_study,
    rounded,
    runs_folder,
    stored_rows,
    study_page,
)
from moe_lib.console import run_command, whole
from moe_lib.devices import device
from moe_lib.errors import require_divisor
from moe_lib.files import write_json
from moe_lib.validation import Choice, Count, NonNegative, Positive, Seed, checked

WIDTH, RULES = 16, 4  # numbers in an input; rules in each respect
EXPERTS, CHOSEN, UNITS = 8, 2, 8  # of the student whose experts are not cut
PARTS, SLICES = (4, 1), (1, 2, 4)  # of the teachers; of an expert
RATES = (0.01, 0.03, 0.1, 0.2)
STEPS, BATCH, ASKED = 400, 256, 4096
BIAS_SPEED = 0.01  # of the bias that keeps the load even; it ends at 0
SEEDS, TUNING_SEED = 5, 100
STUDY = STUDIES / "grain.json"

Teacher = Callable[[Tensor], Tensor]  # (inputs, WIDTH) -> (inputs, WIDTH)


@checked
def make_teacher(parts: Choice(1, 2, 4, 8), seed: Seed) -> Teacher:
    """A teacher that looks at its input in `parts` respects, 1 to 8 of them."""
    draw = torch.Generator().manual_seed(777 + seed)
    directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draw))[0][:, : 2 * parts]
    rank = WIDTH // parts
    down = torch.randn(parts, RULES, WIDTH, rank, generator=draw) * WIDTH**-0.5
    up = torch.randn(parts, RULES, rank, WIDTH, generator=draw) * WIDTH**-0.5
    rules = (down @ up).to(device())  # (parts, RULES, WIDTH, WIDTH)
    directions = directions.to(device())

    def answer(x: Tensor) -> Tensor:
        signs = (x @ directions > 0).long().unflatten(1, (parts, 2))  # (inputs, parts, 2)
        rule = 2 * signs[..., 0] + signs[..., 1]  # (inputs, parts): which of the four holds
        each = torch.einsum("nd,prde->npre", x, rules)  # (inputs, parts, RULES, WIDTH)
        return each.gather(2, rule[..., None, None].expand(-1, -1, 1, WIDTH)).sum((1, 2))

    return answer


class Student(nn.Module):
    """Linear experts, each cut into m slices: m times as many to choose from, and m times as many
    chosen. Gates are sigmoids over their sum, times k, so that gates are 1 on average."""

    @checked
    def __init__(self, m: Count, seed: Seed):
        require_divisor("m", m, UNITS, "the hidden units of an expert")
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.n, self.k, units = m * EXPERTS, m * CHOSEN, EXPERTS * UNITS
        self.router = nn.Parameter(torch.randn(WIDTH, self.n, generator=draw) * WIDTH**-0.5)
        self.down = nn.Parameter(torch.randn(WIDTH, units, generator=draw) * WIDTH**-0.5)
        active = CHOSEN * UNITS
        self.up = nn.Parameter(torch.randn(units, WIDTH, generator=draw) * active**-0.5)
        self.register_buffer("bias", torch.zeros(self.n))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (inputs, WIDTH) -> answers (inputs, WIDTH), gates (inputs, n), 0 where not chosen"""
        scores = torch.sigmoid(x @ self.router)  # (inputs, n)
        chosen = (scores + self.bias).topk(self.k, dim=-1).indices  # the bias only chooses
        gates = torch.zeros_like(scores).scatter(1, chosen, scores.gather(1, chosen))
        gates = gates / gates.sum(-1, keepdim=True) * self.k
        hidden = (x @ self.down).unflatten(1, (self.n, -1)) * gates[..., None]
        return hidden.flatten(1) @ self.up, gates


@checked
def error_after(parts: Count, m: Count, rate: Positive, seed: Seed, steps: Count = STEPS) -> float:
    """Train a student of m slices per expert on a teacher -> its error over the variance."""
    teacher, student = make_teacher(parts, seed), Student(m, seed).to(device())
    optimiser = torch.optim.Adam(student.parameters(), lr=rate)
    draw = torch.Generator().manual_seed(seed + 5)
    for step in range(steps):
        left = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 30) * left
        x = torch.randn(BATCH, WIDTH, generator=draw).to(device())
        answers, gates = student(x)
        loss = (answers - teacher(x)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        load = (gates > 0).sum(0).float()  # (n,)
        student.bias += BIAS_SPEED * left * torch.sign(load.mean() - load)
    with torch.no_grad():
        x = torch.randn(ASKED, WIDTH, generator=torch.Generator().manual_seed(seed + 6))
        x = x.to(device())
        wanted = teacher(x)
        return float((student(x)[0] - wanted).square().mean() / wanted.var(0).mean())


def stored_runs(study: Path = STUDY) -> pd.DataFrame:
    """The runs of the stored study: a row per parts, slices and seed, with rate and error."""
    columns = dict(parts=Count, slices=Count, seed=Seed, rate=Positive, error=NonNegative)
    return pd.DataFrame(stored_rows(study, read_study(study), "runs", **columns))


@checked
def run_study(seeds: Count = SEEDS, steps: Count = STEPS, kept: Path | None = None) -> dict:
    """Every student with every teacher and seed; finished runs are taken from `kept`."""
    torch.set_num_threads(1)
    tried, runs = [], []
    for parts in PARTS:
        for m in SLICES:
            errors = {rate: _kept(kept, parts, m, rate, TUNING_SEED, steps) for rate in RATES}
            best = min(errors, key=errors.get)
            tried.append({"parts": parts, "slices": m, "best": best, "errors": errors})
            for seed in range(seeds):
                error = _kept(kept, parts, m, best, seed, steps)
                runs.append({"parts": parts, "slices": m, "seed": seed, "rate": best})
                runs[-1]["error"] = error
                print(f"{parts} parts, {m} slices, seed {seed}: {error:.3f}", flush=True)
    told = about("grain", steps=steps, batch=BATCH, seeds=seeds)
    return rounded({"about": told, "rates": tried, "runs": runs})


def _kept(kept: Path | None, *plan) -> float:
    file = kept and kept / f"{'-'.join(map(str, plan))}.json"
    return kept_run(file, {"plan": plan}, lambda: error_after(*plan))


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("grain", __doc__)
    parser.add_argument("--steps", type=whole(1), default=STEPS, help="fewer steps, to try it out")
    parser.add_argument("--seeds", type=whole(1), default=SEEDS)
    parser.add_argument("--out", type=study_page, default=STUDY)
    given = parser.parse_args(arguments)
    write_json(given.out, run_study(given.seeds, given.steps, kept=runs_folder("grain")))


if __name__ == "__main__":
    sys.exit(run_command(main))

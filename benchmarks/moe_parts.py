"""Where the time of the MoE layer goes on a CPU: its parts alone, the size of its buffers, its page
faults.

    python -m benchmarks.moe_parts [--quick] [--threads N] [--seconds S] [--out FOLDER]

Each part does the operations of one forward and backward pass on buffers of the same sizes, and
nothing else. All are run in turn with the whole layer and with the dense layer of equal active
size, and given as multiples of the latter.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.layer_cases import CASES, DENSE, GROUPED, OURS, QUICK, Case, Contest
from benchmarks.timing import RESULTS, interleave, machine, save, summarise
from moe_lib.model.fast import ways
from moe_lib.model.fast.dispatch import combine, dispatch, sort_by_expert, weighted_swiglu

BUFFERS = (2**20, 2**21, 2**22, 2**23, 2**30)


class Parts:
    """The operations of one case, each kind by itself. Rows are the (token, expert) pairs: tokens ·
    k of them."""

    def __init__(self, contest: Contest):
        case, self.routing = contest.case, contest.routing
        self.order = sort_by_expert(self.routing)
        n, self.load = len(self.order.pair), self.order.load.tolist()
        self.x = torch.randn(case.tokens, case.d, requires_grad=True)
        self.rows = torch.randn(n, case.d, requires_grad=True)
        self.gate_up = torch.randn(n, 2 * case.I, requires_grad=True)
        self.weight = torch.rand(n, 1, requires_grad=True)
        self.hidden, self.wide = torch.randn(n, case.I), torch.randn(case.tokens, case.k * case.I)
        self.gate_up_proj, self.down_proj = (p.detach() for p in contest.experts.parameters())
        self.dense = [p.detach() for p in contest.dense.parameters()]
        self.outputs = [torch.empty_like(t) for t in (self.gate_up_proj, self.down_proj)]

    def functions(self) -> dict[str, Callable[[], None]]:
        return {
            "matrix products of dense": self.dense_products,
            "matrix products of the experts": self.expert_products,
            "the same, all data in the cache": self.cached_products,
            "sort": lambda: sort_by_expert(self.routing),
            "dispatch": lambda: dispatch(self.x, self.order).backward(self.rows),
            "combine": lambda: combine(self.rows, self.order).backward(self.x),
            "SwiGLU and weights": lambda: weighted_swiglu(self.gate_up, self.weight).backward(
                self.hidden
            ),
        }

    @torch.no_grad()
    def dense_products(self) -> None:
        gate, up, down = self.dense
        for weight in (gate, up):
            self.x @ weight.T, self.wide.T @ self.x, self.wide @ weight
        self.wide @ down.T, self.x.T @ self.wide, self.x @ down

    @torch.no_grad()
    def expert_products(self) -> None:
        """The layer's six grouped products, into fresh buffers as there."""
        rows, hidden, gate_up, offs = (
            self.rows,
            self.hidden,
            self.gate_up,
            self.order.load.cumsum(0).to(torch.int32),
        )
        F.grouped_mm(rows, self.gate_up_proj.transpose(1, 2), offs=offs)
        F.grouped_mm(hidden, self.down_proj.transpose(1, 2), offs=offs)
        F.grouped_mm(rows, self.down_proj, offs=offs), F.grouped_mm(rows.T, hidden, offs=offs)
        (
            F.grouped_mm(gate_up.T, rows, offs=offs),
            F.grouped_mm(gate_up, self.gate_up_proj, offs=offs),
        )

    @torch.no_grad()
    def cached_products(self) -> None:
        """Products of the same sizes, on one expert's matrices and the same few rows every time."""
        gate_up_proj, down_proj = self.gate_up_proj[0], self.down_proj[0]
        d_gate_up_proj, d_down_proj = (t[0] for t in self.outputs)
        for n in self.load:
            rows, gate_up, hidden = self.rows[:n], self.gate_up[:n], self.hidden[:n]
            (
                _into(rows, gate_up_proj.T, gate_up),
                _into(hidden, down_proj.T, rows),
                _into(rows, down_proj, hidden),
            )
            _into(gate_up, gate_up_proj, rows)
            _into(gate_up.T, rows, d_gate_up_proj), _into(rows.T, hidden, d_down_proj)
            for values in (
                rows,
                gate_up,
                hidden,
            ):  # products of products would grow beyond all numbers
                values.fill_(0.1)


def _into(a: Tensor, b: Tensor, out: Tensor) -> None:
    torch.mm(a, b, out=out.detach())


def measure_parts(case: Case, seconds: float) -> list[dict]:
    """Rows for the parts, for sizes of buffers, and for whole steps with their page faults."""
    contest = Contest(case)
    steps = {
        name: lambda forward=forward: forward().backward(contest.d_output)
        for name, forward in contest.forwards(ways=True).items()
        if name in (DENSE, OURS, GROUPED, "run_grouped")
    }
    faults = {name: page_faults(step, contest.drop_gradients) for name, step in steps.items()}
    kinds = {
        "part": {DENSE: steps[DENSE], OURS: steps[OURS], **Parts(contest).functions()},
        "numbers in a buffer": {
            DENSE: steps[DENSE],
            **{str(n): _with_buffer(n, steps[OURS]) for n in BUFFERS},
        },
        "step": steps,
    }
    return [
        {
            "kind": kind,
            "name": name,
            **vars(case),
            **row,
            "page_faults": faults[name] if kind == "step" else "",
            **machine("cpu"),
        }
        for kind, functions in kinds.items()
        for name, row in summarise(
            interleave(functions, contest.drop_gradients, seconds), DENSE
        ).items()
    ]


def _with_buffer(size: int, step: Callable[[], None]) -> Callable[[], None]:
    """`step` with another LARGEST_BUFFER, put back afterwards."""

    def changed() -> None:
        usual, ways.LARGEST_BUFFER = ways.LARGEST_BUFFER, size
        try:
            step()
        finally:
            ways.LARGEST_BUFFER = usual

    return changed


def page_faults(
    step: Callable[[], None], prepare: Callable[[], None], repeat: int = 5
) -> int | str:
    """Pages of fresh memory (4 KB each on most Linux) that one step makes the system clear; ""
    where unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    for count in (3, repeat):  # the first steps fill the allocator's store
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(count):
            prepare()
            step()
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / repeat)


def main(arguments: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two small cases, seconds")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="time for each of the three tables of each case"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    seconds = min(options.seconds, 0.3) if options.quick else options.seconds
    rows = []
    for case in QUICK if options.quick else CASES[:4]:
        measured = measure_parts(case, seconds)
        print(case)
        for row in measured:
            print(
                "    {kind:20s} {name:32s} {median_ms:9.2f} ms {ratio:6.2f}x dense  "
                "{page_faults}".format(**row),
                flush=True,
            )
        rows += measured
    save(rows, options.out / f"moe_parts_cpu{'_quick' * options.quick}.csv")
    return rows


if __name__ == "__main__":
    main()

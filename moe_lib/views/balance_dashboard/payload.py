"""What the page of the balance dashboard is sent: a line per run, and a few numbers per step."""

from moe_lib.training.recorder import BalanceRecorder
from moe_lib.views.balance_dashboard.figure import LAYER_LINES, LOAD_COLOURS, load_stops
from moe_lib.views.balance_dashboard.words import run_title, run_words


def run_entry(run: BalanceRecorder, state: str, shown: bool) -> dict:
    """One run without its steps."""
    return {
        "id": run.name,
        "title": run_title(run),
        "state": state,
        "shown": shown,
        "done": run.n_steps,
        "steps": run.steps or run.n_steps,
        "layers": run.layer_numbers,
        "experts": run.n_experts,
        "stops": load_stops(max(1, run.n_experts), run.k),
        "words": run_words(run) if shown else "",
        "marks": [step for step, _ in run.cures[1:]],
    }


def colours() -> dict:
    """The colours of the heat map, and of the line of each layer."""
    return {"load": list(LOAD_COLOURS), "lines": [colour for colour, _ in LAYER_LINES]}


def step_rows(run: BalanceRecorder, start: int) -> list[dict]:
    """The steps from `start` on: loss, held-out loss where it was measured, dropped share, and per
    layer MaxVio, load entropy and load / even share of each expert."""
    end = run.n_steps
    shares = run.shares(start)[: end - start]
    return [
        {
            "loss": round(row["loss"], 4),
            "held": row.get("heldout_loss"),
            "dropped": row.get("dropped_share", 0.0),
            "vio": _short(run.max_violation[start + offset]),
            "entropy": _short(run.entropy[start + offset]),
            "load": [_short(layer, 2) for layer in shares[offset].tolist()],
        }
        for offset, row in enumerate(run.rows[start:end])
    ]


def _short(numbers: list[float], digits: int = 3) -> list[float]:
    return [round(number, digits) for number in numbers]

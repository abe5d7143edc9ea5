"""What the page of the balance dashboard is sent: a line per run, and a few numbers per step."""

from math import sqrt

from moe_lib.training.cure_settings import CURES, SCOPES
from moe_lib.training.recorder import BalanceRecorder
from moe_lib.views.balance_dashboard.words import run_title, run_words
from moe_lib.views.kit.finite import finite
from moe_lib.views.kit.palette import BLUE, GREEN, MID_GREY, VERMILION

# Blue is less than an even share, vermilion is more: a pair that colour-blind readers tell apart.
# Even is pale.
LOAD_COLOURS = ("#00314f", "#4a9bd1", "#f5f5f2", "#ee9a4d", "#8c2d00")
# One line per layer: colours of at least 3:1 on light and on dark ground, and different strokes.
LAYER_LINES = (
    (BLUE, "solid"),
    (VERMILION, (0, (4, 2))),
    (GREEN, (0, (1, 1.5))),
    (MID_GREY, (0, (5, 1, 1, 1))),
)
MAX_RUNS = 4


def load_stops(n_experts: int, k: int) -> list[float]:
    """Where on the scale of load / even share the LOAD_COLOURS stand: 0, ½, 1 (even), √top and top.

    top is the largest possible share, E / k: every token chooses the expert.
    """
    top = max(2.0, n_experts / k)
    return [0.0, 0.5, 1.0, sqrt(top), top]


ALPHAS = (
    0.0001,
    0.0003,
    0.001,
    0.003,
    0.01,
    0.03,
    0.1,
    0.3,
    1.0,
)  # places of the sliders; code may set any value
SPEEDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)


def dashboard_view(dashboard) -> dict:
    """All that balance_dashboard.js draws but the steps, which travel as messages."""
    shown, states = dashboard.shown, dict(dashboard.ends)
    if dashboard.alive:
        states[dashboard.runs[-1].name] = dashboard.training.state
    return {
        "state": dashboard.state,
        "status": dashboard.status,
        "problem": dashboard.problem,
        "cures": CURES,
        "scopes": SCOPES,
        "has_bias": "bias_update_speed" in dashboard.config.router_class.balanced_by,
        "alphas": ALPHAS,
        "speeds": SPEEDS,
        "settings": {
            "cure": dashboard.cure,
            "alpha": dashboard.alpha,
            "scope": dashboard.scope,
            "seed": dashboard.seed,
            "speed": dashboard.bias_update_speed,
        },
        "colours": colours(),
        "max_runs": MAX_RUNS,
        "runs": [run_entry(run, states.get(run.name, ""), run in shown) for run in dashboard.runs],
    }


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
            "loss": finite(row["loss"], 4),
            "held": finite(row.get("heldout_loss")),
            "dropped": finite(row.get("dropped_share", 0.0)),
            "vio": _short(run.max_violation[start + offset]),
            "entropy": _short(run.entropy[start + offset]),
            "load": [_short(layer, 2) for layer in shares[offset].tolist()],
        }
        for offset, row in enumerate(run.rows[start:end])
    ]


def _short(numbers: list[float], digits: int = 3) -> list[float]:
    return [round(number, digits) for number in numbers]

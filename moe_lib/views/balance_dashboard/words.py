"""Training runs and their balance in plain sentences, and what one run is called."""

from collections.abc import Sequence

from moe_lib.training.recorder import BalanceRecorder
from moe_lib.views.kit.finite import LOST, all_finite
from moe_lib.views.kit.wording import count

END = 10  # the last steps over which the words take means: single steps jump
RARE = 0.1  # of an even share; an expert below it has next to no work


def run_title(run: BalanceRecorder) -> str:
    """ "run 2: no cure → bias, speed 0.02": values tried on the way, of the same cure, are left
    out."""
    kept: list[str] = []
    for _, words in run.cures:
        if kept and kept[-1].split(" ")[0] == words.split(" ")[0]:
            kept.pop()
        kept.append(words)
    if len(kept) > 3:
        kept = [kept[0], "…", kept[-1]]
    return f"{run.name}: {' → '.join(kept)}" if kept else run.name


def run_words(run: BalanceRecorder) -> str:
    """What a run came to: loss, MaxVio and entropy of each layer, its busiest expert and the idle
    ones."""
    if not run.n_steps:
        return f"{run_title(run)}: no step is done yet."
    last = min(END, run.n_steps)
    steps = (
        f"{run.n_steps} of {count(run.steps, 'step')}" if run.steps else count(run.n_steps, "step")
    )
    losses = [row["loss"] for row in run.rows[-last:]]
    loss = f"{sum(losses) / last:.2f} nats per token" if all_finite(losses) else LOST
    parts = [f"{run_title(run)}, {steps}: loss {loss}"]
    parts[0] += f" (means of the last {count(last, 'step')})." if last > 1 else "."
    shares = run.shares(run.n_steps - last).mean(0)  # (layers, E)
    for place, number in enumerate(run.layer_numbers):
        share = shares[place]
        violation = sum(values[place] for values in run.max_violation[-last:]) / last
        entropy = sum(values[place] for values in run.entropy[-last:]) / last
        rare = int((share < RARE).sum())
        parts.append(
            f"Layer {number}: MaxVio {violation:.2f}, load entropy {entropy:.2f}; expert "
            f"{int(share.argmax())} has "
            f"{share.max():.1f} times an even share, {rare} of {run.n_experts} experts less "
            "than a tenth of one."
        )
    dropped = [row.get("dropped_share", 0.0) for row in run.rows[-last:]]
    if any(dropped):
        parts.append(f"{100 * sum(dropped) / last:.1f} % of the choices are dropped.")
    return " ".join(parts)


def balance_words(runs: Sequence[BalanceRecorder]) -> str:
    """`run_words` of every run."""
    return " ".join(run_words(run) for run in runs) or "No run yet."


def status_words(run: BalanceRecorder, state: str, done: int, steps: int) -> str:
    """What a training does: "Run 2 is paused at step 10 of 200."."""
    said = {"running": "is training", "paused": "is paused", "finished": "has finished"}
    said |= {"stopped": "was stopped", "failed": "failed"}
    at = "" if state in ("running", "finished") else f" at step {done} of {steps}"
    return f"{run.name.capitalize()} {said[state]}{at}."

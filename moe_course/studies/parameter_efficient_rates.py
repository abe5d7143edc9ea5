"""How the cases of `parameter_efficient_study` look for their learning rates: up or down a ladder
until the best rate has a worse one on either side."""

from collections.abc import Callable, Sequence

from moe_lib.tuning import Comparison

# learning rates, about half a power of ten apart, and those that each case tries first; a case
# without any takes that of another one
LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
FIRST_RATES = {
    "full": (1e-3, 3e-3),
    "head only": (1e-2, 3e-2),
    "LoRA": (3e-3, 1e-2),
    "AdaLoRA": (3e-3, 1e-2),
    "adapters": (3e-3, 1e-2),
    "LoRA on experts": (3e-3, 1e-2),
    "prefix": (1e-2, 3e-2),
    "router only": (1e-2, 3e-2),
    "added biases": (1e-2, 3e-2),
    "ESFT": (3e-3, 1e-2),
    "LoRA, large": (1e-3, 3e-3),
    "LoRA on experts, large": (3e-3, 1e-2),
}
SAME_RATE = {"other experts": "ESFT"}
SLOWER = {
    "LoRA on experts, slower": "LoRA on experts"
}  # one rung lower: what comes of the method, what of its rate?


def climb(first: Sequence[float], loss_at: Callable[[float], float]) -> dict[float, float]:
    """Rate -> loss for the rates `first`, then for the neighbours of the best one on the ladder,
    the higher one first, until it has a worse one on either side (or the ladder ends)."""
    losses = {rate: loss_at(rate) for rate in first}
    while True:
        best = LADDER.index(min(losses, key=losses.get))
        neighbours = [LADDER[place] for place in (best + 1, best - 1) if 0 <= place < len(LADDER)]
        untried = [rate for rate in neighbours if rate not in losses]
        if not untried:
            return losses
        losses[untried[0]] = loss_at(untried[0])


def best_rates(tried: Comparison) -> dict[str, float]:
    """Case -> the learning rate with the lowest validation loss; for SLOWER, the rate below
    that."""
    found: dict[str, tuple[float, float]] = {}
    for case, loss in zip(tried.runs["case"], tried.runs["test_loss"], strict=True):
        name, rate = case.rsplit(" ", 1)
        found[name] = min(found.get(name, (float("inf"), 0.0)), (float(loss), float(rate)))
    rates = {name: rate for name, (_, rate) in found.items()}
    rates |= {name: rates[other] for name, other in SAME_RATE.items() if other in rates}
    return rates | {
        name: LADDER[LADDER.index(rates[other]) - 1]
        for name, other in SLOWER.items()
        if other in rates
    }

"""Does a probability mean what it says? Temperature scaling, and abstaining from the least certain
answers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from moe_lib.errors import require
from moe_lib.validation import Finite, Positive, checked


@checked
@dataclass(frozen=True)
class Temperature:
    """T, and the mean loss −log p of the right class in nats on the rows it was fitted to, before
    (T = 1) and after."""

    value: Positive
    loss_before: Finite
    loss_after: Finite

    def __call__(self, probabilities) -> np.ndarray:
        """softmax(log p / T): the logits divided by T, but for a constant that softmax does not
        see. (n, K) -> (n, K)

        The most likely class stays the most likely: accuracy does not change.
        """
        return _scaled(_log(probabilities), self.value)


def fit_temperature(probabilities, targets) -> Temperature:
    """The T above 0 with the lowest loss (Guo et al. 2017): above 1 for a model that is too sure of
    itself.

    probabilities (n, K), rows sum to 1; targets (n,). Use the validation set: on training rows
    every overfitted model looks right, and on test rows T would be chosen with the answers in view.
    The loss is convex in 1/T; T is sought between 1/20 and 20. Raises ValueError for bad shapes or
    targets outside 0 … K − 1.
    """
    from scipy.optimize import minimize_scalar

    logits, targets = _log(probabilities), _targets(probabilities, targets)

    def loss(log_temperature: float) -> float:
        chosen = _scaled(logits, np.exp(log_temperature))[np.arange(len(targets)), targets]
        return float(-np.log(np.maximum(chosen, 1e-300)).mean())

    found = minimize_scalar(
        loss, bounds=(-np.log(20), np.log(20)), method="bounded", options={"xatol": 1e-6}
    )
    return Temperature(float(np.exp(found.x)), loss(0.0), float(found.fun))


def coverage_curve(probabilities, targets) -> pd.DataFrame:
    """What abstaining buys: answer only the most certain texts. A row for each number of answers, 1
    to n.

    coverage (answered / n), threshold (the largest probability of the last one answered), accuracy
    (of the answered), selective_risk (1 − accuracy). Texts with equal certainty are answered
    together: the rows between are left out.
    """
    table, targets = _table(probabilities), _targets(probabilities, targets)
    confidence, right = table.max(1), table.argmax(1) == targets
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(right[order]) / answered
    curve = pd.DataFrame(
        {
            "coverage": answered / len(order),
            "threshold": confidence[order],
            "accuracy": accuracy,
            "selective_risk": 1 - accuracy,
        }
    )
    return curve.drop_duplicates("threshold", keep="last").reset_index(drop=True)


def _table(probabilities) -> np.ndarray:
    if isinstance(probabilities, Tensor):
        probabilities = probabilities.detach().cpu()
    try:
        table = np.asarray(probabilities, dtype=np.float64)
    except (TypeError, ValueError) as error:
        kind = type(probabilities).__name__
        raise TypeError(f"probabilities: got {kind}; wants numbers of shape (n, K)") from error
    require(
        table.ndim == 2 and len(table) > 0,
        "probabilities",
        table.shape,
        "shape (n, K), n at least 1",
    )
    sums = bool(np.allclose(table.sum(1), 1, atol=1e-3)) and bool((table >= 0).all())
    require(sums, "probabilities", "rows that are no probabilities", "numbers from 0 that sum to 1")
    return table


def _targets(probabilities, targets) -> np.ndarray:
    table = _table(probabilities)
    found = np.asarray(targets.cpu() if isinstance(targets, Tensor) else targets)
    require(found.shape == (len(table),), "targets", found.shape, f"shape {(len(table),)}")
    require(found.dtype.kind in "iu", "targets", found.dtype, "whole numbers", TypeError)
    inside = bool((found >= 0).all() and (found < table.shape[1]).all())
    require(inside, "targets", f"{found.min()} to {found.max()}", f"0 to {table.shape[1] - 1}")
    return found.astype(int)


def _log(probabilities) -> np.ndarray:
    return np.log(np.maximum(_table(probabilities), 1e-30))


def _scaled(logits: np.ndarray, temperature: float) -> np.ndarray:
    scaled = logits / temperature
    exp = np.exp(scaled - scaled.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)

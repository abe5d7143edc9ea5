"""What explorer.js gets: one reading as plain JSON, its large tables packed as base64."""

from base64 import b64decode, b64encode
from dataclasses import asdict

import numpy as np

from moe_lib.tracing import Change, Prediction, Reading
from moe_lib.tracing.trace import LayerTrace
from moe_lib.views.palette import expert_colour
from moe_lib.views.words import NO_TEXT, cut_words, dense_layers, layer_words, max_violation

_TOP = 65535
NO_EXPERT = 65535  # stands in "experts" where a column holds no choice


def pack(values) -> dict:
    """An array of numbers, 0 or more, as {"scale", "data"}: 16-bit whole numbers, little-endian, base64.

    Less than 0 counts as 0. The largest value becomes 65535, so that a value is off by at most the largest / 131070.
    """
    numbers = np.maximum(np.asarray(values, dtype=np.float64), 0)  # a few models weigh an expert below 0
    scale = float(numbers.max()) / _TOP if numbers.size and numbers.max() > 0 else 1.0
    data = np.rint(numbers / scale).astype("<u2").tobytes()
    return {"scale": scale, "data": b64encode(data).decode("ascii")}


def unpack(packed: dict) -> np.ndarray:
    """The numbers of `pack` again, flat; explorer.js has the same in JavaScript."""
    return np.frombuffer(b64decode(packed["data"]), dtype="<u2") * packed["scale"]


def reading_payload(reading: Reading) -> dict:
    """Everything explorer.js draws of a reading, for all layers and ranks, so that moving between them is instant."""
    layers = reading.trace.layers
    return {
        "tokens": list(reading.labels),
        "layers": [_layer(reading, layer) for layer in layers],
        "dense": dense_layers(reading.trace),
        "predictions": [_prediction(p) for p in reading.predictions],
        "next": _prediction(reading.next),
        "causal": reading.causal,
        "palette": [asdict(expert_colour(e)) for e in range(max(layer.n_experts for layer in layers))],
        "note": cut_words(reading),
        "empty": NO_TEXT,
    }


def changes_payload(changes: list[Change]) -> list[dict]:
    return [asdict(change) for change in changes]


def _layer(reading: Reading, layer: LayerTrace) -> dict:
    load = reading.trace.load(layer.index).tolist()
    k = layer.experts.shape[-1]
    experts = layer.experts if layer.chosen is None else layer.experts.masked_fill(~layer.chosen, NO_EXPERT)
    weights = layer.weights if layer.kept is None else layer.weights * layer.kept  # a dropped pair adds nothing
    return {
        "index": layer.index,
        "nExperts": layer.n_experts,
        "k": k,
        "shared": layer.shared,
        "experts": b64encode(experts[0].numpy().astype("<u2").tobytes()).decode("ascii"),
        "weights": pack(weights[0]),
        "scores": pack(layer.scores[0]),
        "load": load,
        "even": sum(load) / layer.n_experts,
        "maxVio": max_violation(load),
        "off": list(reading.off.get(layer.index, ())),
        "words": [layer_words(reading, layer, rank) for rank in range(1, k + 1)] if len(reading) else [NO_TEXT] * k,
    }


def _prediction(prediction: Prediction | None) -> dict | None:
    if prediction is None:
        return None
    known = prediction.log_probability
    return {
        "best": [[label, round(p, 5)] for label, p in zip(prediction.labels, prediction.probabilities, strict=True)],
        "actual": None if known is None else float(f"{np.exp(known):.3g}"),
    }

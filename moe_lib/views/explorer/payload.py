"""What explorer.js gets: one reading as plain JSON, its large tables packed as base64."""

from base64 import b64decode, b64encode
from dataclasses import asdict
from math import isfinite, isnan

import numpy as np

from moe_lib.model import max_violation
from moe_lib.tracing import Change, Prediction, Reading
from moe_lib.tracing.trace import LayerTrace
from moe_lib.views.explorer.layer_facts import dense_layers
from moe_lib.views.explorer.readings import Readings
from moe_lib.views.explorer.words import (
    NO_TEXT,
    comparison_words,
    cut_words,
    layer_words,
    not_finite_words,
    what_if_title,
)
from moe_lib.views.kit.finite import finite
from moe_lib.views.kit.palette import expert_colour

NO_EXPERT = 65535  # stands in "experts" where a column holds no choice


def pack(values, bits: int = 16) -> dict:
    """An array of numbers, 0 or more, as {"scale", "data", "bits"}: whole numbers of 16 or 12 bits
    in base64.

    Less than 0, or no finite number, counts as 0. The largest value becomes 2^bits − 1, so that a
    value is off by at most half a step: the largest / 131070, or / 8190. 16 bits lie little-endian;
    12 bits two by two in three bytes, low bits first.
    """
    top = 2**bits - 1
    numbers = np.asarray(values, dtype=np.float64).flatten()
    # a few models weigh an expert below 0
    numbers = np.maximum(np.where(np.isfinite(numbers), numbers, 0), 0)
    scale = float(numbers.max()) / top if numbers.size and numbers.max() > 0 else 1.0
    steps = np.rint(numbers / scale).astype("<u2")
    if bits == 12:
        one, two = np.append(steps, [0] * (len(steps) % 2)).astype("<u2").reshape(-1, 2).T
        steps = np.stack((one & 255, one >> 8 | (two & 15) << 4, two >> 4), axis=1).astype("u1")
    return {"scale": scale, "data": b64encode(steps.tobytes()).decode("ascii"), "bits": bits}


def unpack(packed: dict) -> np.ndarray:
    """The numbers of `pack` again, flat; explorer_parts.js has the same. An odd number of 12 bits
    gets a 0 behind."""
    data = b64decode(packed["data"])
    if packed.get("bits", 16) == 12:
        low, middle, high = np.frombuffer(data, dtype="u1").astype("<u2").reshape(-1, 3).T
        steps = np.stack((low | (middle & 15) << 8, middle >> 4 | high << 4), axis=1).flatten()
    else:
        steps = np.frombuffer(data, dtype="<u2")
    return steps * packed["scale"]


def reading_payload(reading: Reading, bits: int = 16) -> dict:
    """Everything explorer.js draws of a reading, for all layers and ranks, so that moving between
    them is instant.

    bits  of a score, 16 or 12: 12 where two readings share a page, which stays below 5 MB that way
    """
    layers = reading.trace.layers
    return {
        "tokens": list(reading.labels),
        "layers": [_layer(reading, layer, bits) for layer in layers],
        "dense": dense_layers(reading.trace),
        **_expected(reading),
        "causal": reading.causal,
        "palette": [
            asdict(expert_colour(e)) for e in range(max(layer.n_experts for layer in layers))
        ],
        "note": " ".join(filter(None, (cut_words(reading), not_finite_words(reading)))),
        "empty": NO_TEXT,
    }


def what_if_payload(baseline: Reading, reading: Reading) -> dict:
    """What the model expected before anything was changed; {} while nothing is."""
    if reading.k is None and not reading.off:
        return {}
    return {**_expected(baseline), "title": what_if_title(baseline, reading)}


def comparison_payload(readings: Readings) -> dict:
    """The second reading and how it compares, with the words of every layer; {} without one."""
    if readings.compared is None:
        return {}
    facts = {
        "names": list(readings.names),
        "other": reading_payload(readings.compared, 12),
        "same": False,
        "layers": {},
        "words": {},
        "twoModels": readings.two_models,
    }
    comparison = readings.comparison
    if comparison is None:  # one of the texts is empty
        return facts
    layers = {
        str(layer.index): {name: finite(value, 4) for name, value in asdict(layer).items()}
        for layer in comparison.layers
    }
    said = {
        str(layer.index): comparison_words(
            comparison, layer.index, readings.names, readings.two_models
        )
        for layer in readings.reading.trace.layers
    }
    return {**facts, "same": comparison.same_tokens, "layers": layers, "words": said}


def _expected(reading: Reading) -> dict:
    mean = reading.mean_log_probability
    return {
        "predictions": [_prediction(p) for p in reading.predictions],
        "next": _prediction(reading.next),
        "loss": None if mean is None else finite(-mean, 4),
    }


def changes_payload(changes: list[Change]) -> list[dict]:
    """The changes whose probabilities are numbers."""
    return [
        asdict(one)
        for one in changes
        if isfinite(one.before_probability) and isfinite(one.after_probability)
    ]


def _layer(reading: Reading, layer: LayerTrace, bits: int) -> dict:
    counts = reading.trace.load(layer.index)
    load = counts.tolist()
    k = layer.experts.shape[-1]
    experts = (
        layer.experts
        if layer.chosen is None
        else layer.experts.masked_fill(~layer.chosen, NO_EXPERT)
    )
    weights = layer.weights  # None where nobody recorded them
    if weights is not None and layer.kept is not None:
        weights = weights * layer.kept  # a dropped pair adds nothing
    return {
        "index": layer.index,
        "nExperts": layer.n_experts,
        "k": k,
        "shared": max(layer.n_shared, int(layer.shared)),
        "nGroup": layer.n_group,
        "topkGroup": layer.topk_group,
        "experts": b64encode(experts[0].numpy().astype("<u2").tobytes()).decode("ascii"),
        "weights": None if weights is None else pack(weights[0]),
        "scores": None if layer.scores is None else pack(layer.scores[0], bits),
        "load": load,
        "even": sum(load) / layer.n_experts,
        "maxVio": max_violation(counts),
        "off": list(reading.off.get(layer.index, ())),
        "words": [layer_words(reading, layer, rank) for rank in range(1, k + 1)]
        if len(reading)
        else [NO_TEXT] * k,
    }


def _prediction(prediction: Prediction | None) -> dict | None:
    if prediction is None or not all(map(isfinite, prediction.probabilities)):
        return None
    known = prediction.log_probability
    return {
        "best": [
            [label, round(p, 5)]
            for label, p in zip(prediction.labels, prediction.probabilities, strict=True)
        ],
        "actual": None if known is None or isnan(known) else float(f"{np.exp(known):.3g}"),
    }

"""What router_playground.js draws."""

from dataclasses import asdict

import torch

from moe_lib.tracing.routing_in_the_plane import (
    CELLS,
    LIMIT,
    METHODS,
    N_GROUPS,
    PlaneRouting,
    PlaneSettings,
)
from moe_lib.views.kit.palette import expert_colour
from moe_lib.views.router_playground.words import region_words


def playground_look(labels: list[str], n_experts: int) -> dict:
    """What never changes: words, colours, names of the routers."""
    colours = [expert_colour(expert) for expert in range(n_experts)]
    return {
        "labels": labels,
        "limit": LIMIT,
        "cells": CELLS,
        "groups": N_GROUPS,
        "colours": [{"fill": colour.fill, "text": colour.text} for colour in colours],
        "methods": [{"name": name, "label": method.label} for name, method in METHODS.items()],
    }


def routing_view(result: PlaneRouting, settings: PlaneSettings, selected: int) -> dict:
    """The routing as router_playground.js draws it, and what may be set."""
    routing = result.routing
    method = METHODS[settings.method]
    columns = zip(
        routing.experts.tolist(),
        routing.weights.tolist(),
        routing.kept.tolist(),
        routing.choices().tolist(),
        strict=True,
    )
    return {
        "note": region_words(result, settings),
        "settings": asdict(settings),
        "k": result.k,
        "k_range": method.k_range(routing.n_experts),
        "drops": method.drops,
        "learned": bool(method.router_class.learned),
        "biased": "bias_update_speed" in method.router_class.balanced_by,
        # per token, its choices: [expert, weight, kept]
        "choices": [
            [[e, round(w, 4), kept] for e, w, kept, chosen in zip(*row, strict=True) if chosen]
            for row in columns
        ],
        "scores": [round(score, 4) for score in routing.scores[selected].tolist()],
        "load": routing.load().tolist(),
        "kept": routing.kept_load().tolist(),
        "even": result.even_share,
        "device_load": result.device_load().tolist(),
        "device_kept": result.device_load(kept=True).tolist(),
        "capacity": result.capacity,
        "per_device": result.per_device,
        "runs": _runs(result),
    }


def _runs(result: PlaneRouting) -> list[int]:
    """The regions as runs of equal cells, row by row: [code, length, code, length, …] with code =
    set · E + first choice; [] if there are no regions."""
    if result.regions is None:
        return []
    codes = result.sets * result.routing.n_experts + result.regions
    values, lengths = codes.flatten().unique_consecutive(return_counts=True)
    return torch.stack((values, lengths), dim=1).flatten().tolist()

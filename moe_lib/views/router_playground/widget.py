"""The router playground: move tokens and experts in the plane, choose a router, and see at once who
goes where."""

from collections.abc import Sequence
from dataclasses import asdict

import anywidget
import torch
import traitlets

from moe_lib.errors import require
from moe_lib.tracing.routing_in_the_plane import (
    CELLS,
    LIMIT,
    METHODS,
    N_GROUPS,
    PlaneRouting,
    PlaneSettings,
    is_number,
    route_plane,
)
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.messages import (
    Form,
    MessageWidget,
    fields,
    flag,
    number,
    one_of,
    optional,
    several,
    text,
    whole,
)
from moe_lib.views.kit.palette import expert_colour
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.router_playground.words import plane_words, region_words

MAX_EXPERTS, MAX_TOKENS = 12, 48
TEXT = "the cat sat , the dog ran , the red cat sat , the red dog ran ,"
_PLACES = {
    "the": (-1.9, 0.8),
    ",": (-1.9, -0.6),
    "cat": (1.5, 1.5),
    "dog": (2.2, 0.2),
    "sat": (0.7, -2.0),
    "ran": (1.8, -1.6),
    "red": (0.0, 2.1),
}
_STEPS = (
    (0.0, 0.0),
    (0.42, 0.24),
    (-0.3, 0.4),
    (0.3, -0.42),
)  # where the next one of the same word lies
_EXPERTS = ((2.0, 0.7), (0.6, 1.9), (-1.1, 1.6), (-1.4, -1.5), (0.2, -1.6), (1.4, -0.9))
_SETTINGS = tuple(PlaneSettings.__dataclass_fields__)
_PAIRS = several(several(number))
_CHANGES = {  # what the page may change
    "reset": one_of(True),
    "tokens": _PAIRS,
    "experts": _PAIRS,
    "selected": whole(),
    "method": text,
    "num_experts_per_tok": whole(1),
    "temperature": number,
    "noise": number,
    "capacity_factor": optional(number),
    "training": flag,
    "selection_bias": several(number),
    "seed": whole(),
}


class RouterPlayground(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """Tokens are points, experts are arrows; drag them, or Tab to one and press the arrow keys.

    The routing is that of the library's own router, run in the kernel at every change: the arrows
    are its rows of weights, so the logit of an expert is the dot product of arrow and point,
    divided by the temperature.

    For code, assign to: method (a name of `moe_lib.tracing.routing_in_the_plane.METHODS`),
    num_experts_per_tok, temperature, noise, capacity_factor, training, selection_bias, seed (see
    `PlaneSettings`), tokens and experts (lists of [x, y], between -3 and 3), selected (number of
    the token whose weights are shown); or call move_token, move_expert, reset. To read: result (a
    PlaneRouting; result.routing is the library's Routing), labels, settings, summary (in words).

    labels           one word per token; equal words share the token id that the hash router looks
                     up
    tokens, experts  coordinates; the number of experts is 6, 9 or 12

    Raises TypeError or ValueError naming the argument.
    """

    _esm = script("router_playground")
    _css = style("router_playground")
    FORMS = (Form("_follow", needs={"asked": whole(), "change": fields(_CHANGES)}),)
    KEPT = ("tokens", "experts", "selected", *_SETTINGS)
    look = traitlets.Dict().tag(
        sync=True
    )  # what never changes: words, colours, names of the routers
    view = traitlets.Dict().tag(
        sync=True
    )  # all the rest that is drawn; router_playground.js only reads it
    # Of no type, because the validators below say what is wrong better than a trait's type would.
    tokens, experts, selected = (traitlets.TraitType() for _ in range(3))
    method, num_experts_per_tok, temperature, noise = (traitlets.TraitType() for _ in range(4))
    capacity_factor, training, selection_bias, seed = (traitlets.TraitType() for _ in range(4))

    def __init__(
        self,
        method: str = "topk",
        *,
        labels: Sequence[str] | None = None,
        tokens=None,
        experts=None,
        selected: int = 0,
        **settings,
    ):
        own_labels, labels = labels, TEXT.split() if labels is None else labels
        several(text)("labels", labels)
        self._labels = list(labels)
        require(
            1 <= len(self.labels) <= MAX_TOKENS,
            "labels",
            f"{len(self.labels)} words",
            f"1 to {MAX_TOKENS}",
        )
        require(
            tokens is not None or own_labels is None,
            "tokens",
            tokens,
            "coordinates for your labels",
        )
        tokens = _coordinates("tokens", _example_tokens(self.labels) if tokens is None else tokens)
        experts = _coordinates("experts", _EXPERTS if experts is None else experts)
        require(
            len(tokens) == len(self.labels),
            "tokens",
            f"{len(tokens)} pairs",
            f"{len(self.labels)}, one per label",
        )
        require(
            len(experts) <= MAX_EXPERTS,
            "experts",
            f"{len(experts)} of them",
            f"at most {MAX_EXPERTS}",
        )
        words = sorted(set(self.labels))
        self._ids = torch.tensor([words.index(label) for label in self.labels])
        settings = {"selection_bias": (0.0,) * len(experts), **settings, "method": method}
        self._start = {
            "tokens": tokens,
            "experts": experts,
            "selected": selected,
            **asdict(PlaneSettings(**settings)),
        }
        self.result = route_plane(
            torch.tensor(tokens), torch.tensor(experts), PlaneSettings(**settings), self._ids
        )
        self._asked = 0
        super().__init__(look=self._look(len(experts)), **self._start)
        self.view = self._view()
        self.observe(self._on_change, names=list(self._start))

    @property
    def labels(self) -> list[str]:
        """One word per token, as they were given."""
        return list(self._labels)

    def move_token(self, token: int, x: float, y: float) -> None:
        """Put a token elsewhere. ValueError if there is no such token or it would lie outside the
        plane."""
        self.tokens = _moved("token", self.tokens, token, x, y)

    def move_expert(self, expert: int, x: float, y: float) -> None:
        """Point an expert's arrow elsewhere. ValueError as for `move_token`."""
        self.experts = _moved("expert", self.experts, expert, x, y)

    def reset(self) -> None:
        """Everything as it was at the start."""
        with self.hold_trait_notifications():
            for name, value in self._start.items():
                setattr(self, name, value)

    @property
    def settings(self) -> PlaneSettings:
        return PlaneSettings(**{name: getattr(self, name) for name in _SETTINGS})

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        return plane_words(self.result, self.settings, self.labels, self.selected)

    def figure(self):
        """What is shown, as a matplotlib figure."""
        from moe_lib.views.router_playground.figure import (
            playground_figure,  # matplotlib waits for a picture
        )

        return playground_figure(
            self.result, self.settings, self.labels, self.tokens, self.experts, self.selected
        )

    @traitlets.validate("tokens", "experts")
    def _check_coordinates(self, proposal):
        name, pairs = (
            proposal["trait"].name,
            _coordinates(proposal["trait"].name, proposal["value"]),
        )
        wanted = len(self._start[name])
        require(
            len(pairs) == wanted, name, f"{len(pairs)} pairs", f"{wanted} pairs, as at the start"
        )
        return pairs

    @traitlets.validate("selected")
    def _check_selected(self, proposal):
        value = proposal["value"]
        known = (
            isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(self.labels)
        )
        require(known, "selected", value, f"a token number from 0 to {len(self.labels) - 1}")
        return value

    @traitlets.validate(*_SETTINGS)
    def _check_setting(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if name == "selection_bias":
            value = value.tolist() if hasattr(value, "tolist") else value
            several(number)(name, value)
            value = tuple(value)
            wanted = len(self._start["experts"])
            require(len(value) == wanted, name, value, f"{wanted} numbers, one per expert")
        return getattr(PlaneSettings(**{name: value}), name)

    def _on_change(self, change) -> None:
        if change["name"] != "selected":
            points, directions = torch.tensor(self.tokens), torch.tensor(self.experts)
            self.result = route_plane(points, directions, self.settings, self._ids)
        self.view = self._view()

    def receive(self, message: object) -> str:
        """Also answers: {"asked": number of the question, "change": {name: value}}. The page waits
        for the number to come back in the view."""
        asked = message.get("asked") if isinstance(message, dict) else None
        if type(asked) is int:
            self._asked = asked
        return super().receive(message)

    def _follow(self, asked: int, change: dict) -> None:
        """The page reports what was moved."""
        if "reset" in change:
            self.reset()
        for name, value in change.items():
            if name != "reset":
                setattr(self, name, value)

    def _look(self, n_experts: int) -> dict:
        colours = [expert_colour(expert) for expert in range(n_experts)]
        return {
            "labels": self.labels,
            "limit": LIMIT,
            "cells": CELLS,
            "groups": N_GROUPS,
            "colours": [{"fill": colour.fill, "text": colour.text} for colour in colours],
            "methods": [{"name": name, "label": method.label} for name, method in METHODS.items()],
        }

    def _view(self) -> dict:
        result, routing, settings = self.result, self.result.routing, self.settings
        method = METHODS[settings.method]
        columns = zip(
            routing.experts.tolist(),
            routing.weights.tolist(),
            routing.kept.tolist(),
            routing.choices().tolist(),
            strict=True,
        )
        return {
            "asked": self._asked,
            "problem": self._problem,
            "summary": self.summary,
            "note": region_words(result, settings),
            "tokens": self.tokens,
            "experts": self.experts,
            "selected": self.selected,
            "settings": asdict(settings),
            "k": result.k,
            "k_range": method.k_range(routing.n_experts),
            "drops": method.drops,
            # per token, its choices: [expert, weight, kept]
            "choices": [
                [[e, round(w, 4), kept] for e, w, kept, chosen in zip(*row, strict=True) if chosen]
                for row in columns
            ],
            "scores": [round(score, 4) for score in routing.scores[self.selected].tolist()],
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


def _example_tokens(words: list[str]) -> list[list[float]]:
    seen: dict[str, int] = {}
    pairs = []
    for word in words:
        (x, y), (dx, dy) = _PLACES[word], _STEPS[seen.get(word, 0)]
        seen[word] = seen.get(word, 0) + 1
        pairs.append([round(x + dx, 2), round(y + dy, 2)])
    return pairs


def _coordinates(name: str, pairs) -> list[list[float]]:
    wants = f"pairs of numbers from {-LIMIT:g} to {LIMIT:g}"
    pairs = pairs.tolist() if hasattr(pairs, "tolist") else pairs
    listed = isinstance(pairs, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) for pair in pairs
    )
    require(listed, name, pairs, wants, TypeError)
    good = all(
        len(pair) == 2 and all(is_number(c) and abs(c) <= LIMIT for c in pair) for pair in pairs
    )
    require(good, name, pairs, wants)
    return [[float(c) for c in pair] for pair in pairs]


def _moved(name: str, pairs: list, number: int, x: float, y: float) -> list[list[float]]:
    known = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(pairs)
    require(known, name, number, f"a number from 0 to {len(pairs) - 1}")
    return [[x, y] if place == number else pair for place, pair in enumerate(pairs)]

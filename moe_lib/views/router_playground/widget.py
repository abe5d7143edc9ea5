"""The router playground: move tokens and experts in the plane, choose a router, and see at once who
goes where."""

from collections.abc import Sequence
from dataclasses import asdict

import anywidget
import torch
import traitlets

from moe_lib.errors import require
from moe_lib.tracing.routing_in_the_plane import (
    PlaneSettings,
    route_plane,
)
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.page_messages import (
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
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.router_playground.payload import playground_look, routing_view
from moe_lib.views.router_playground.positions import (
    EXPERTS,
    TEXT,
    coordinates,
    example_tokens,
    moved,
)
from moe_lib.views.router_playground.words import plane_words

MAX_EXPERTS, MAX_TOKENS = 12, 48
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
    TELLS = ("result",)
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
        tokens = coordinates("tokens", example_tokens(self.labels) if tokens is None else tokens)
        experts = coordinates("experts", EXPERTS if experts is None else experts)
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
        require(len(experts) > 0, "experts", "none of them", "a direction for each expert")
        known = set(PlaneSettings.__dataclass_fields__) - {"method"}
        for name, value in settings.items():
            require(name in known, name, value, f"some of {', '.join(sorted(known))}", TypeError)
        words = sorted(set(self.labels))
        self._ids = torch.tensor([words.index(label) for label in self.labels])
        settings = {"selection_bias": (0.0,) * len(experts), **settings, "method": method}
        self._start = {
            "tokens": tokens,
            "experts": experts,
            "selected": selected,
            **asdict(PlaneSettings(**settings)),
        }
        self._result = route_plane(
            torch.tensor(tokens), torch.tensor(experts), PlaneSettings(**settings), self._ids
        )
        self._asked = 0
        super().__init__(look=playground_look(self.labels, len(experts)), **self._start)
        self.view = self._view()
        self.observe(self._on_change, names=list(self._start))

    @property
    def labels(self) -> list[str]:
        """One word per token, as they were given."""
        return list(self._labels)

    def move_token(self, token: int, x: float, y: float) -> None:
        """Put a token elsewhere. ValueError if there is no such token or it would lie outside the
        plane."""
        self.tokens = moved("token", self.tokens, token, x, y)

    def move_expert(self, expert: int, x: float, y: float) -> None:
        """Point an expert's arrow elsewhere. ValueError as for `move_token`."""
        self.experts = moved("expert", self.experts, expert, x, y)

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
            coordinates(proposal["trait"].name, proposal["value"]),
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
            self._result = route_plane(points, directions, self.settings, self._ids)
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

    def _view(self) -> dict:
        state = {"asked": self._asked, "problem": self._problem, "summary": self.summary}
        points = {name: getattr(self, name) for name in ("tokens", "experts", "selected")}
        return {**state, **points, **routing_view(self.result, self.settings, self.selected)}

"""Tokens of a trace fly to their experts on other devices, and back: rows, bytes and work."""

from collections.abc import Sequence

import anywidget
import traitlets

from moe_lib.errors import require, require_texts, require_whole
from moe_lib.tracing.trace import RoutingTrace
from moe_lib.views.flying_tokens.flights import (
    MOST_EXPERTS,
    MOST_TOKENS,
    fewest_experts,
    make_plan,
)
from moe_lib.views.flying_tokens.words import summary_of
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.page_messages import Form, MessageWidget, whole
from moe_lib.views.kit.palette import expert_colour
from moe_lib.views.kit.static_display import StaticDisplay

DEVICES = (2, 4, 8)


class FlyingTokens(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """Spread the experts of one layer over devices and let a text's tokens fly to them.

        FlyingTokens(trace_routing(model, input_ids), labels=tokenizer.convert_ids_to_tokens(ids))

    layer       number of the layer in the model; None: the first with experts
    labels      a word for each token; None: their numbers
    row_bytes   of one token's hidden state; DeepSeek-V2 has 5,120 numbers of two bytes

    For code:  set(devices=4, limit=2, copies=4, at=10)
    To read:   devices, limit, copies, at (tokens that have flown), plan, summary

    The first 256 tokens are shown; a layer may have at most 64 experts. ValueError or TypeError
    names the argument that cannot be; nothing changes then.
    """

    _esm = script("settings", "flying_tokens")
    _css = style("settings", "flying_tokens")
    FORMS = (
        Form("_follow", needs={"devices": whole(1)}),
        Form("_follow", needs={"limit": whole(1)}),
        Form("_follow", needs={"copies": whole(0)}),
        Form("_follow", needs={"at": whole(0)}),
    )
    SETS = ("devices", "limit", "copies", "at")
    TELLS = ("plan",)
    KEPT = ("_devices", "_limit", "_copies", "_at", "_plan")
    view = traitlets.Dict().tag(sync=True)  # all that is drawn; flying_tokens.js only reads it

    def __init__(
        self,
        trace: RoutingTrace,
        layer: int | None = None,
        *,
        labels: Sequence[str] | None = None,
        row_bytes: int = 10_240,
    ):
        wants = "a RoutingTrace"
        require(isinstance(trace, RoutingTrace), "trace", type(trace).__name__, wants, TypeError)
        known = [one.index for one in trace.layers]
        require(bool(known), "trace", "no layer", "at least one layer with experts")
        chosen = known[0] if layer is None else layer
        require(type(chosen) is int, "layer", chosen, "a whole number", TypeError)
        require(chosen in known, "layer", chosen, f"one of {', '.join(map(str, known))}")
        self._trace, self._layer = trace, trace.layers[known.index(chosen)]
        fits = self._layer.n_experts <= MOST_EXPERTS and self._layer.n_experts % 2 == 0
        wants = f"an even number of experts, at most {MOST_EXPERTS}"
        require(fits, "trace", f"{self._layer.n_experts} experts", wants)
        self._n = min(int(trace.real.sum()), MOST_TOKENS)
        require(self._n > 0, "trace", "no token", "at least one")
        require_whole("row_bytes", row_bytes)
        if labels is not None:
            require_texts("labels", labels)
            wants = f"one for each of {int(trace.real.sum())} tokens"
            require(len(labels) == int(trace.real.sum()), "labels", len(labels), wants)
        numbers = [f"number {n + 1}" for n in range(self._n)]
        self._labels = numbers if labels is None else list(labels)
        self._row_bytes = row_bytes
        self._devices = self._limit = self._choices[0]
        self._copies, self._at = 0, self._n
        self._plan = make_plan(trace, self._layer, self._devices, self._limit, 0)
        super().__init__(view=self._view())

    @property
    def _choices(self) -> list[int]:
        return [number for number in DEVICES if self._layer.n_experts % number == 0]

    @property
    def _limits(self) -> list[int]:
        """Those that leave room for all experts of a token, and that the trace can be asked for."""
        n, k = self._devices, self._layer.experts.shape[-1]
        fits = [m for m in range(1, n) if fewest_experts(self._plan.held, m) >= k]
        return [*(fits if self._layer.scores is not None else []), n]

    def set(
        self,
        *,
        devices: int | None = None,
        limit: int | None = None,
        copies: int | None = None,
        at: int | None = None,
    ) -> None:
        """Change some settings. Another number of devices begins without limit and copies.

        limit   devices that a token may use, at most all of them
        copies  further copies of the busiest experts: 0, or one for each device
        at      tokens that have flown
        """
        new = self._devices if devices is None else devices
        require_whole("devices", new)
        wants = f"one of {', '.join(map(str, self._choices))}"
        require(new in self._choices, "devices", new, wants)
        same = new == self._devices
        bound = (self._limit if same else new) if limit is None else limit
        require_whole("limit", bound)
        require(bound <= new, "limit", bound, f"at most the {new} devices")
        more = (self._copies if same else 0) if copies is None else copies
        require_whole("copies", more, at_least=0)
        require(more in (0, new), "copies", more, f"0 or {new}, one a device")
        flown = self._at if at is None else at
        require_whole("at", flown, at_least=0, at_most=self._n)
        plan = make_plan(self._trace, self._layer, new, bound, more)  # refuses what cannot be
        self._devices, self._limit, self._copies = new, bound, more
        self._at, self._plan = flown, plan
        self.view = self._view()

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        label = self._labels[max(0, self._at - 1)]
        return summary_of(self._plan, self._at, label, self._row_bytes)

    def figure(self):
        """Rows from device to device and the work of each, as a matplotlib figure."""
        from moe_lib.views.flying_tokens.figure import flights_figure

        return flights_figure(self._plan, self._at)

    def _view(self) -> dict:
        plan = self._plan
        colours = [expert_colour(expert) for expert in range(self._layer.n_experts)]
        return {
            "devices": plan.devices,
            "choices": self._choices,
            "limit": self._limit,
            "limits": self._limits,
            "copies": self._copies,
            "at": self._at,
            "labels": self._labels[: self._n],
            "flights": [{"home": f.home, "choices": f.choices, "to": f.to} for f in plan.flights],
            "held": plan.held,
            "colours": [{"fill": c.fill, "text": c.text, "edge": c.edge} for c in colours],
            "row_bytes": self._row_bytes,
            "summary": self.summary,
            "problem": self._problem,
        }

    def _follow(self, **choice) -> None:
        """The page reports a choice."""
        self.set(**choice)

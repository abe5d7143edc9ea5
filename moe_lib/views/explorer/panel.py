"""The part of the routing explorer that is drawn in the browser."""

import anywidget
import traitlets

from moe_lib.errors import is_whole, require
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.page_messages import said

CHOSEN = ("layer", "rank", "token", "side", "expert")  # what the page and callers choose
SCRIPTS = ("explorer_parts", "explorer_strip", "explorer")


class RefusedTrait(traitlets.TraitError, ValueError):
    """A value that a trait of the panel cannot have. traitlets puts the old one back."""


class RoutingPanel(anywidget.AnyWidget):
    """The part drawn by explorer.js. It shows its traits and sets four of them: layer, token, side
    and expert."""

    _esm = script(*SCRIPTS)
    _css = style("explorer")
    payload = traitlets.Dict().tag(sync=True)
    comparison = traitlets.Dict().tag(sync=True)  # {} while one reading is shown
    before = traitlets.Dict().tag(
        sync=True
    )  # what was expected as trained; {} while nothing is changed
    # Of no type, because `_check` says what is wrong better than a trait's type would.
    layer = traitlets.TraitType(0).tag(sync=True)  # number of the layer in the model
    rank = traitlets.TraitType(1).tag(sync=True)  # 1 is the first choice
    token = traitlets.TraitType(-1).tag(sync=True)  # -1: none
    # the reading that `token` belongs to: 0, or 1 for the compared one
    side = traitlets.TraitType(0).tag(sync=True)
    expert = traitlets.TraitType(-1).tag(sync=True)  # -1: none
    changes = traitlets.List().tag(sync=True)
    summary = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)  # False where there is no kernel to change the model

    def set_state(self, sync_data: dict) -> None:
        """What the page sets. If a value cannot be, nothing changes: the page says why, and gets
        the old values back."""
        self.problem = ""
        try:
            other = sorted(set(sync_data) - set(CHOSEN))
            require(not other, "message", other, f"some of {', '.join(CHOSEN)}", RefusedTrait)
            super().set_state(sync_data)
        except Exception as error:  # a page has nobody to raise to
            self.problem = said(error)
            self.send_state([name for name in self.keys if name in sync_data])

    @traitlets.validate(*CHOSEN)
    def _check(self, proposal):
        """RefusedTrait, a ValueError, for what is not in the payload."""
        name, value = proposal["trait"].name, proposal["value"]
        if self.payload:
            known, wants = getattr(self, f"_known_{name}")()
            fits = is_whole(value) and value in known
            require(fits, name, value, wants, RefusedTrait)
        return value

    def _shown_layer(self) -> dict:
        layers = self.payload["layers"]
        return next((one for one in layers if one["index"] == self.layer), layers[0])

    def _known_layer(self):
        numbers = [layer["index"] for layer in self.payload["layers"]]
        return numbers, f"a layer with experts: {numbers}"

    def _known_rank(self):
        most = max(layer["k"] for layer in self.payload["layers"])
        return range(1, most + 1), f"1 to {most}"

    def _known_token(self):
        shown = self.comparison["other"] if self.side and self.comparison else self.payload
        tokens = len(shown["tokens"])
        return range(-1, tokens), f"-1 for none, or one of {tokens} tokens, counted from 0"

    def _known_side(self):
        if not self.comparison:
            return (0,), "0: there is no second reading"
        return (0, 1), "0 or 1"

    def _known_expert(self):
        n_experts = self._shown_layer()["nExperts"]
        return range(-1, n_experts), f"-1 for none, or 0 to {n_experts - 1}"

"""The part of the routing explorer that is drawn in the browser, and the ipywidgets above it."""

import anywidget
import ipywidgets as widgets
import traitlets

from moe_lib.views.explorer.readings import Readings
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.wording import ordinal

SCRIPTS = ("explorer_parts", "explorer_strip", "explorer")


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
    layer = traitlets.Int(0).tag(sync=True)  # number of the layer in the model
    rank = traitlets.Int(1).tag(sync=True)  # 1 is the first choice
    token = traitlets.Int(-1).tag(sync=True)  # -1: none
    side = traitlets.Int(0).tag(
        sync=True
    )  # the reading that `token` belongs to: 0, or 1 for the compared one
    expert = traitlets.Int(-1).tag(sync=True)  # -1: none
    changes = traitlets.List().tag(sync=True)
    summary = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)  # False where there is no kernel to change the model


class Controls:
    """The ipywidgets of the explorer; `k` is the number of choices in the first layer."""

    def __init__(
        self, text: str, other_text: str | None, layers: list[int], k: int, readings: Readings
    ):
        style = {"description_width": "45px"}
        self.text_area = widgets.Textarea(
            text,
            description="Text",
            placeholder="Type any text",
            rows=4,
            style=style,
            layout={"width": "98%"},
            tooltip="Any text. The picture below follows as you type.",
        )
        self.compare_area = widgets.Textarea(
            other_text or "",
            description="Other",
            placeholder="Type another text",
            rows=4,
            style=style,
            layout={"width": "98%"},
            tooltip="The text to compare with.",
        )
        self.compare_button = widgets.ToggleButton(
            other_text is not None,
            description="Compare with another text",
            layout={"width": "200px"},
        )
        self.compare_button.layout.display = "none" if readings.two_models else None
        self.layer_slider = widgets.SelectionSlider(
            options=[(str(index), index) for index in layers],
            description="Layer",
            style=style,
            layout={"width": "300px"},
        )
        self.rank_buttons = widgets.ToggleButtons(
            options=rank_options(k),
            description="Choice",
            style={**style, "button_width": "52px"},
            layout={"width": "auto", "flex": "0 0 auto"},
            tooltips=["Which of its chosen experts colours a token"] * k,
        )
        self.k_slider = _k_slider(readings.ks, readings.trained_k)
        self.k_words = widgets.Label(
            readings.k_note, layout={"display": "none" if readings.ks else None}
        )
        self.all_on_button = widgets.Button(
            description="Switch all experts on", disabled=True, layout={"width": "180px"}
        )
        self.follow_compare()

    def follow_compare(self) -> None:
        """Show the second text where it is asked for."""
        self.compare_area.layout.display = None if self.compare_button.value else "none"

    def children(self) -> list[widgets.Widget]:
        rows = (
            [self.layer_slider, self.rank_buttons],
            [self.k_slider, self.k_words, self.all_on_button, self.compare_button],
        )
        layout = {"flex_flow": "row wrap", "align_items": "center"}
        return [
            self.text_area,
            self.compare_area,
            *(widgets.HBox(row, layout=layout) for row in rows),
        ]


def rank_options(k: int) -> list[tuple[str, int]]:
    return [(ordinal(rank), rank) for rank in range(1, k + 1)]


def _k_slider(ks: list[int], trained: int) -> widgets.SelectionSlider:
    """From 1 to the largest k; the model's own is named. 0 stands for "as trained" where layers
    differ."""
    options = [(f"{k} (as trained)" if k == trained else str(k), k) for k in ks]
    if trained not in ks:
        options = [("as trained", trained), *options]
    slider = widgets.SelectionSlider(
        options=options,
        value=trained,
        description="Experts per token",
        continuous_update=False,
        style={"description_width": "120px"},
        layout={"width": "430px", "display": None if ks else "none"},
    )
    slider.add_class("moe-k")
    return slider

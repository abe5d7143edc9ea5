"""The ipywidgets above the drawing of the routing explorer."""

from contextlib import contextmanager

import ipywidgets as widgets

from moe_lib.views.explorer.readings import Readings
from moe_lib.views.kit.wording import ordinal


class Controls:
    """The ipywidgets of the explorer; `k` is the number of choices in the first layer.

    following  True while the controls are set to what was read: nobody has moved them
    """

    def __init__(self, layers: list[int], k: int, readings: Readings):
        text, other_text = readings.text, readings.other_text
        self._readings, self.following = readings, False
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
        self.follow()

    @property
    def asked(self) -> dict:
        """The texts that the reader asks for."""
        other = self.compare_area.value if self.compare_button.value else None
        return {"text": self.text_area.value, "other_text": other}

    def follow(self) -> None:
        """Show what was read, after a change and after a refusal."""
        readings = self._readings
        with self._following():
            self.text_area.value = readings.text
            if readings.other_text is not None:
                self.compare_area.value = readings.other_text
            self.compare_button.value = readings.other_text is not None
            self.compare_area.layout.display = None if self.compare_button.value else "none"
            self.all_on_button.disabled = not readings.reading.off
            self.k_slider.value = readings.reading.k or readings.trained_k

    def follow_ranks(self, k: int, rank: int) -> None:
        """Offer k choices. The chosen rank stays, or becomes the last."""
        if len(self.rank_buttons.options) != k:
            self.rank_buttons.options = rank_options(k)
            self.rank_buttons.value = min(rank, k)

    @contextmanager
    def _following(self):
        self.following = True
        try:
            yield
        finally:
            self.following = False

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

"""The routing explorer: type a text, see which experts read it, and switch experts off."""

from pathlib import Path

import anywidget
import ipywidgets as widgets
import pandas as pd
import traitlets
from torch import nn

from moe_lib.errors import require
from moe_lib.tracing import Change, changed_predictions, read_text
from moe_lib.views import words
from moe_lib.views.export import write_page
from moe_lib.views.figures import explorer_figure
from moe_lib.views.payload import changes_payload, reading_payload
from moe_lib.views.static_display import StaticDisplay

STATIC = Path(__file__).parent / "static"
EXAMPLE = "def area(radius):\n    return 3.14 * radius ** 2\n\nThe list is sorted in place, and None is returned."


class RoutingPanel(anywidget.AnyWidget):
    """The part drawn by explorer.js. It shows its traits and sets three of them: layer, token and expert."""

    _esm = STATIC / "explorer.js"
    _css = STATIC / "explorer.css"
    payload = traitlets.Dict().tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)  # number of the layer in the model
    rank = traitlets.Int(1).tag(sync=True)  # 1 is the first choice
    token = traitlets.Int(-1).tag(sync=True)  # -1: none
    expert = traitlets.Int(-1).tag(sync=True)  # -1: none
    changes = traitlets.List().tag(sync=True)
    summary = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)  # False where there is no kernel to switch experts off


class RoutingExplorer(StaticDisplay, widgets.VBox):
    """Shows which experts of a model read each token of a text.

    Controls, also for code:  text_area, layer_slider, rank_buttons, all_on_button (ipywidgets), panel
    State to set:             text, layer, rank; select_token(5), select_expert(3), switch_off([3])
    State to read:            reading (a moe_lib.tracing.Reading, with the experts off that are off), baseline (with
                              all on), selected, off, changes (a pandas frame), summary (what is shown, in words)
    """

    def __init__(self, model: nn.Module, tokenizer, text: str = EXAMPLE, max_tokens: int = 512):
        self._model, self._tokenizer, self._max_tokens = model, tokenizer, max_tokens
        self._changes: list[Change] = []
        self.baseline = self.reading = read_text(model, tokenizer, text, max_tokens)
        layers = [layer.index for layer in self.reading.trace.layers]
        self.panel = RoutingPanel(layer=layers[0])
        self._make_controls(text, layers)
        self._show()
        controls = widgets.HBox([self.layer_slider, self.rank_buttons, self.all_on_button],
                                layout=widgets.Layout(flex_flow="row wrap", align_items="center"))  # fmt: skip
        super().__init__([self.text_area, controls, self.panel])
        self.add_class("moe-explorer-box")
        self._connect()

    def _make_controls(self, text: str, layers: list[int]) -> None:
        style = {"description_width": "45px"}
        self.text_area = widgets.Textarea(
            text, description="Text", placeholder="Type any text", rows=4, style=style, layout={"width": "98%"},
            tooltip="Any text. The picture below follows as you type.")  # fmt: skip
        self.layer_slider = widgets.SelectionSlider(
            options=[(str(index), index) for index in layers], description="Layer", style=style,
            layout={"width": "300px"})  # fmt: skip
        self.rank_buttons = widgets.ToggleButtons(
            options=self._rank_options(layers[0]), description="Choice", style={**style, "button_width": "52px"},
            layout={"width": "auto", "flex": "0 0 auto"},
            tooltips=["Which of its chosen experts colours a token"] * self._k(layers[0]))  # fmt: skip
        self.all_on_button = widgets.Button(
            description="Switch all experts on", disabled=True, layout={"width": "180px"})  # fmt: skip

    def _connect(self) -> None:
        self.text_area.observe(lambda change: self._read(), "value")
        traitlets.link((self.layer_slider, "value"), (self.panel, "layer"))
        traitlets.link((self.rank_buttons, "value"), (self.panel, "rank"))
        self.panel.observe(self._on_layer, "layer")
        self.panel.observe(lambda change: self._say(), ["rank", "token", "expert"])
        self.panel.on_msg(self._on_message)
        self.all_on_button.on_click(lambda button: self._read(off={}))

    # What a caller may do

    @property
    def text(self) -> str:
        return self.text_area.value

    @text.setter
    def text(self, text: str) -> None:
        require(isinstance(text, str), "text", type(text).__name__, "a str", TypeError)
        self.text_area.value = text

    @property
    def layer(self) -> int:
        return self.panel.layer

    @layer.setter
    def layer(self, layer: int) -> None:
        self.reading.trace.layer(layer)  # raises ValueError for a layer without experts
        self.layer_slider.value = layer

    @property
    def rank(self) -> int:
        return self.panel.rank

    @rank.setter
    def rank(self, rank: int) -> None:
        k = self._k(self.layer)
        require(rank in range(1, k + 1), "rank", rank, f"1 to {k}: each token chooses {words.count(k, 'expert')}")
        self.rank_buttons.value = rank

    @property
    def off(self) -> dict[int, tuple[int, ...]]:
        """{layer: experts} that are switched off."""
        return self.reading.off

    @property
    def selected(self) -> dict[str, int | None]:
        """{"token": number or None, "expert": number or None}."""
        return {name: None if (value := getattr(self.panel, name)) < 0 else value for name in ("token", "expert")}

    @property
    def changes(self) -> pd.DataFrame:
        """The predictions whose most probable token changed, one row each; empty while all experts are on."""
        columns = list(Change.__dataclass_fields__)
        return pd.DataFrame([vars(change) for change in self._changes], columns=columns)

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        return self.panel.summary

    def select_token(self, token: int | None) -> None:
        """Show one token's affinities; None shows none. ValueError if the text has no such token."""
        known = token is None or token in range(len(self.reading))
        require(known, "token", token, f"None, or one of the text's {len(self.reading)} tokens, counted from 0")
        self.panel.token = -1 if token is None else token

    def select_expert(self, expert: int | None) -> None:
        """Show the tokens that choose one expert of the layer; None shows none. ValueError if there is no such one."""
        experts = self.reading.trace.layer(self.layer).n_experts
        known = expert is None or expert in range(experts)
        require(known, "expert", expert, f"None, or 0 to {experts - 1}")
        self.panel.expert = -1 if expert is None else expert

    def switch_off(self, experts) -> None:
        """Switch these experts of the chosen layer off, all its others on; [] switches all of them on.

        The model reads the text again. Raises ValueError if there is no such expert or too few are left.
        """
        self._read(off={**self.off, self.layer: tuple(experts)})

    def figure(self):
        """What is shown, as a matplotlib figure."""
        return explorer_figure(self.reading, self.layer, self.rank, self.selected["token"], self.selected["expert"])

    def save_html(self, path: str | Path) -> Path:
        """Write one HTML page that works without a kernel and without a network; returns its path.

        Layers, choices, tokens and experts can be chosen there; switching experts off needs the model and stays here.
        """
        state = {name: getattr(self.panel, name) for name in ("payload", "layer", "rank", "token", "expert", "changes")}
        return write_page(path, self.reading.text, state)

    # What happens

    def _k(self, layer: int) -> int:
        return self.reading.trace.layer(layer).experts.shape[-1]

    def _rank_options(self, layer: int) -> list[tuple[str, int]]:
        return [(words.ordinal(rank), rank) for rank in range(1, self._k(layer) + 1)]

    def _read(self, off: dict | None = None) -> None:
        """Run the model on the text, once with all experts on and, if some are off, once without them."""
        off = self.off if off is None else off
        old = self.reading
        arguments = (self._model, self._tokenizer, self.text, self._max_tokens)
        # Nothing of the explorer changes until all has been read: an error leaves it as it was.
        same_text = old.text == self.text and self.baseline.n_cut == 0
        baseline = self.baseline if same_text else read_text(*arguments)
        reading = read_text(*arguments, off) if any(off.values()) else baseline
        self.baseline, self.reading = baseline, reading
        self._changes = changed_predictions(baseline, reading) if reading.off else []
        token = self.panel.token
        if token >= 0 and reading.pieces[: token + 1] != old.pieces[: token + 1]:
            self.panel.token = -1  # another token stands there now
        self._show()

    def _show(self) -> None:
        with self.panel.hold_sync():
            self.panel.payload = reading_payload(self.reading)
            self.panel.changes = changes_payload(self._changes)
            self.panel.problem = ""
            self._say()
        self.all_on_button.disabled = not self.off

    def _say(self) -> None:
        self.panel.summary = self._summary()

    def _summary(self) -> str:
        if not len(self.reading):
            return words.NO_TEXT
        layer, chosen = self.reading.trace.layer(self.layer), self.selected
        parts = [words.cut_words(self.reading), words.layer_words(self.reading, layer, self.rank)]
        if chosen["token"] is not None:
            parts.append(words.token_words(self.reading, layer, chosen["token"]))
        if chosen["expert"] is not None:
            parts.append(words.expert_words(self.reading, layer, chosen["expert"]))
        if self.off:
            parts.append(words.off_words(self.baseline, self.reading, self._changes))
        return " ".join(part for part in parts if part)

    def _on_layer(self, change) -> None:
        layer = self.reading.trace.layer(self.layer)
        if self.panel.expert >= layer.n_experts:
            self.panel.expert = -1
        if len(self.rank_buttons.options) != self._k(self.layer):
            rank = min(self.rank, self._k(self.layer))
            self.rank_buttons.options = self._rank_options(self.layer)
            self.rank_buttons.value = rank
        self._say()

    def _on_message(self, panel, content: dict, buffers) -> None:
        """explorer.js asks to switch one expert off or on."""
        layer, expert = int(content["layer"]), int(content["toggle"])
        experts = set(self.off.get(layer, ())) ^ {expert}
        try:
            self._read(off={**self.off, layer: tuple(sorted(experts))})
        except ValueError as error:
            self.panel.problem = f"Expert {expert} stays as it is: {error}"


def explore(model: nn.Module, tokenizer, text: str = EXAMPLE, max_tokens: int = 512) -> RoutingExplorer:
    """Open the routing explorer: a widget that shows which experts of `model` read each token of `text`.

    model       a LanguageModel with experts, causal or masked, or a causal Mixture-of-Experts model of transformers
    tokenizer   the fast tokenizer it was trained with
    max_tokens  longer texts are cut here, and the explorer says so

    Raises TypeError or ValueError, naming the argument, as `moe_lib.tracing.read_text` does.
    """
    return RoutingExplorer(model, tokenizer, text, max_tokens)

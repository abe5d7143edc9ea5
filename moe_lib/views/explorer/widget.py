"""The routing explorer: type a text, see which experts read it, compare, and change what is
chosen."""

from pathlib import Path

import ipywidgets as widgets
import traitlets
from torch import nn

from moe_lib.errors import require
from moe_lib.tracing import RoutingTrace, read_trace
from moe_lib.validation import Count, Natural, PathLike, Tokenizer, checked
from moe_lib.views.explorer import words
from moe_lib.views.explorer.controls import Controls
from moe_lib.views.explorer.export import shown_texts, write_page
from moe_lib.views.explorer.page_state import ExplorerState
from moe_lib.views.explorer.panel import RoutingPanel
from moe_lib.views.explorer.payload import (
    changes_payload,
    comparison_payload,
    reading_payload,
    what_if_payload,
)
from moe_lib.views.explorer.readings import Readings
from moe_lib.views.kit.page_messages import Form, MessageWidget, said, whole
from moe_lib.views.kit.static_display import StaticDisplay

EXAMPLE = (
    "def area(radius):\n    return 3.14 * radius ** 2\n\nThe list is sorted in place, and None "
    "is returned."
)
_TEXTS, _MODELS = ("First text", "Second text"), ("This model", "Other model")
_STATE = ("payload", "comparison", "before", "layer", "rank", "token", "side", "expert", "changes")


class RoutingExplorer(ExplorerState, MessageWidget, StaticDisplay, widgets.VBox):
    """Shows which experts of a model read each token of a text.

    Controls, also for code:  text_area, compare_button, compare_area, layer_slider, rank_buttons,
    k_slider,
                              all_on_button (ipywidgets), panel
    State to set:             text, compare_text, layer, rank, k; select_token(5), select_expert(3),
    switch_off([3]) State to read:            reading (a moe_lib.tracing.Reading, with what is
    changed), baseline (as trained),
                              compared (the second Reading or None), comparison (a Comparison or
                              None), selected, off, changes (a pandas frame), k_note (why k cannot
                              be changed, or ""), summary (in words)
    """

    FORMS = (Form("_toggle", needs={"layer": whole(), "toggle": whole()}),)

    @checked
    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        text: str = EXAMPLE,
        max_tokens: Count = 512,
        *,
        compare_text: str | None = None,
        compare_model: nn.Module | None = None,
        compare_tokenizer: Tokenizer | None = None,
        names: tuple[str, str] | None = None,
    ):
        names = (_TEXTS if compare_model is None else _MODELS) if names is None else names
        self._readings = Readings(
            model, tokenizer, max_tokens, compare_model, compare_tokenizer, names
        )
        self._readings.read(text, compare_text, {}, None)
        self._open()

    @classmethod
    @checked
    def of_trace(
        cls,
        trace: RoutingTrace,
        tokenizer: Tokenizer | None = None,
        max_tokens: Count = 512,
        row: Natural = 0,
    ) -> "RoutingExplorer":
        """An explorer of text number `row` of a trace, without the model that made it."""
        explorer = cls.__new__(cls)
        reading = read_trace(trace, tokenizer, row, max_tokens)
        explorer._readings = Readings.of_trace(reading, _TEXTS)
        explorer._open()
        explorer.panel.live = False  # nothing can be switched off
        for control in (explorer.text_area, explorer.compare_button, explorer.all_on_button):
            control.disabled = True
        return explorer

    def _open(self) -> None:
        self._readings.find_k()
        layers = [layer.index for layer in self.reading.trace.layers]
        # With all it draws: a busy browser may draw it before it hears of a change.
        self.panel = RoutingPanel(layer=layers[0], **self._drawn())
        self._controls = Controls(layers, self._k(layers[0]), self._readings)
        for name in (
            "text_area",
            "compare_area",
            "compare_button",
            "layer_slider",
            "rank_buttons",
            "k_slider",
            "all_on_button",
        ):
            setattr(self, name, getattr(self._controls, name))
        self._say()
        super().__init__([*self._controls.children(), self.panel])
        self.add_class("moe-explorer-box")
        self._connect()

    def _connect(self) -> None:
        for control in (self.text_area, self.compare_area, self.compare_button):
            control.observe(self._on_text, "value")
        traitlets.link((self.layer_slider, "value"), (self.panel, "layer"))
        traitlets.link((self.rank_buttons, "value"), (self.panel, "rank"))
        self.panel.observe(self._on_layer, "layer")
        self.panel.observe(lambda change: self._say(), ["rank", "token", "side", "expert"])
        self.panel.on_msg(lambda panel, content, buffers: self.receive(content))
        self.k_slider.observe(self._on_k, "value")
        self.all_on_button.on_click(lambda button: self._try({"off": {}}))

    # What is handed out

    def figure(self):
        """What is shown, as a matplotlib figure."""
        from moe_lib.views.explorer.figure import explorer_figure  # matplotlib waits for a picture

        both, words_of_both = self._readings, ""
        if both.comparison is not None:
            words_of_both = words.comparison_words(
                both.comparison, self.layer, both.names, both.two_models
            )
        return explorer_figure(
            both.reading,
            self.layer,
            self.rank,
            self.selected["token"],
            self.selected["expert"],
            compared=both.compared,
            names=both.names,
            words=words_of_both,
            side=self.panel.side,
        )

    @checked
    def save_html(self, path: PathLike) -> Path:
        """Write one HTML page that works without a kernel and without a network; returns its path.

        Layers, choices, tokens and experts can be chosen there; changing k, and switching experts
        off, needs the model and stays here.
        """
        return write_page(
            path, shown_texts(self._readings), {name: getattr(self.panel, name) for name in _STATE}
        )

    # What happens

    def _read(self, **asked) -> None:
        """Read with another text, other_text, off or k, and show it. After an error all is as it
        was."""
        readings = self._readings
        now = {"text": self.text, "other_text": self.compare_text, "off": self.off}
        asked = {**now, "k": self.reading.k, **asked}
        old = self.compared if self.panel.side else self.reading
        if asked["k"] == readings.trained_k:
            asked["k"] = None
        readings.read(**asked)
        new = self.compared if self.panel.side else self.reading
        token = self.panel.token
        if new is None or (token >= 0 and new.pieces[: token + 1] != old.pieces[: token + 1]):
            self.select_token(None)  # another token stands there now
        self._show()

    def _try(self, asked: dict, stays: str = "") -> None:
        """What a control asks for. A refusal is said, and the control goes back."""
        try:
            self._read(**asked)
        except Exception as error:  # a page has nobody to raise to
            self._controls.follow()
            self.panel.problem = stays + said(error)

    def _drawn(self) -> dict:
        return {
            "payload": reading_payload(self.reading, 16 if self.compared is None else 12),
            "comparison": comparison_payload(self._readings),
            "problem": "",
            "before": what_if_payload(self.baseline, self.reading),
            "changes": changes_payload(self._readings.changes),
        }

    def _show(self) -> None:
        self._fit_ranks()
        with self.panel.hold_sync():
            for name, value in self._drawn().items():
                setattr(self.panel, name, value)
            self._say()
        self._controls.follow()

    def _say(self) -> None:
        panel, chosen = self.panel, self.selected
        panel.summary = self._readings.summary(
            panel.layer, panel.rank, chosen["token"], panel.side, chosen["expert"]
        )

    def _fit_ranks(self) -> None:
        self._controls.follow_ranks(self._k(self.layer), self.rank)

    def _on_layer(self, change) -> None:
        if self.panel.expert >= self.reading.trace.layer(self.layer).n_experts:
            self.panel.expert = -1
        self._fit_ranks()
        self._say()

    def _on_text(self, change) -> None:
        """A text was typed, or the button of the second one pressed."""
        asked = self._controls.asked
        changed = asked != {"text": self.text, "other_text": self.compare_text}
        if changed and not self._controls.following:
            self._try(asked)

    def _on_k(self, change) -> None:
        """The slider was moved."""
        if not self._controls.following:
            stays = "The number of experts per token stays as it is: "
            self._try({"k": change.new or None}, stays)

    def _toggle(self, layer: int, toggle: int) -> None:
        """explorer.js asks to switch one expert off or on."""
        experts = set(self.off.get(layer, ())) ^ {toggle}
        try:
            self._read(off={**self.off, layer: tuple(sorted(experts))})
        except ValueError as error:
            raise ValueError(f"Expert {toggle} stays as it is: {error}") from error

    def _publish(self) -> None:
        self.panel.problem = self._problem


@checked
def explore(
    model: nn.Module | None = None,
    tokenizer=None,
    text: str = EXAMPLE,
    max_tokens: int = 512,
    *,
    compare_text: str | None = None,
    compare_model: nn.Module | None = None,
    compare_tokenizer: Tokenizer | None = None,
    names: tuple[str, str] | None = None,
    trace: RoutingTrace | None = None,
    row: Natural = 0,
) -> RoutingExplorer:
    """Open the routing explorer: a widget that shows which experts of `model` read each token of
    `text`.

    model          a LanguageModel with experts, causal or masked, or a causal Mixture-of-Experts
                   model of transformers
    tokenizer      the fast tokenizer it was trained with
    max_tokens     longer texts are cut here, and the explorer says so
    compare_text   another text to read beside it; it can be typed in the explorer as well
    compare_model  another model to read the same text, e.g. another checkpoint or an untrained
                   twin, with compare_tokenizer if it has one of its own
    names          what to call the two that are compared
    trace          a RoutingTrace in the place of a model, e.g. `RoutingTrace.from_vllm(…)`: its
                   text number `row` is shown, with the tokenizer's names of its tokens if there is
                   one. What runs a model again (another text, experts off, k) is refused

    Raises TypeError or ValueError, naming the argument, as `moe_lib.tracing.read_text` does.
    """
    if trace is not None:
        given = {"model": model, "compare_text": compare_text, "compare_model": compare_model}
        given |= {"compare_tokenizer": compare_tokenizer, "text": None if text is EXAMPLE else text}
        for name, value in given.items():
            require(value is None, name, type(value).__name__, "None beside a trace")
        return RoutingExplorer.of_trace(trace, tokenizer, max_tokens, row)
    require(model is not None, "model", None, "a model, or a trace in its place", TypeError)
    require(row == 0, "row", row, "0 without a trace, whose texts it counts")
    alone = compare_tokenizer is None or compare_model is not None
    require(alone, "compare_tokenizer", compare_tokenizer, "None without a compare_model")
    compared = {"compare_text": compare_text, "compare_model": compare_model}
    compared |= {"compare_tokenizer": compare_tokenizer, "names": names}
    return RoutingExplorer(model, tokenizer, text, max_tokens, **compared)

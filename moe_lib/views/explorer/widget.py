"""The routing explorer: type a text, see which experts read it, compare, and change what is
chosen."""

from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets
import traitlets
from torch import nn

from moe_lib.errors import require
from moe_lib.tracing import Change, Comparison, Reading
from moe_lib.views.explorer import words
from moe_lib.views.explorer.export import shown_texts, write_page
from moe_lib.views.explorer.panel import Controls, RoutingPanel, rank_options
from moe_lib.views.explorer.payload import (
    changes_payload,
    comparison_payload,
    reading_payload,
    what_if_payload,
)
from moe_lib.views.explorer.readings import Readings
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.kit.wording import count

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE = (
    "def area(radius):\n    return 3.14 * radius ** 2\n\nThe list is sorted in place, and None "
    "is returned."
)
_TEXTS, _MODELS = ("First text", "Second text"), ("This model", "Other model")
_STATE = ("payload", "comparison", "before", "layer", "rank", "token", "side", "expert", "changes")


class RoutingExplorer(StaticDisplay, widgets.VBox):
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

    def __init__(
        self,
        model: nn.Module,
        tokenizer,
        text: str = EXAMPLE,
        max_tokens: int = 512,
        *,
        compare_text: str | None = None,
        compare_model: nn.Module | None = None,
        compare_tokenizer=None,
        names: tuple[str, str] | None = None,
    ):
        require(
            compare_text is None or isinstance(compare_text, str),
            "compare_text",
            type(compare_text).__name__,
            "a str or None",
            TypeError,
        )
        names = names or (_TEXTS if compare_model is None else _MODELS)
        self._readings = Readings(
            model, tokenizer, max_tokens, compare_model, compare_tokenizer, names
        )
        self._readings.read(text, compare_text, {}, None)
        self._readings.find_k()
        layers = [layer.index for layer in self.reading.trace.layers]
        # With all it draws: a busy browser may draw it before it hears of a change.
        self.panel = RoutingPanel(layer=layers[0], **self._drawn())
        self._controls = Controls(text, compare_text, layers, self._k(layers[0]), self._readings)
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
        self._follow()
        self._say()
        super().__init__([*self._controls.children(), self.panel])
        self.add_class("moe-explorer-box")
        self._connect()

    def _connect(self) -> None:
        self.text_area.observe(lambda change: self._read(self.off, self.reading.k), "value")
        for control in (self.compare_area, self.compare_button):
            control.observe(lambda change: self._read(self.off, self.reading.k), "value")
        traitlets.link((self.layer_slider, "value"), (self.panel, "layer"))
        traitlets.link((self.rank_buttons, "value"), (self.panel, "rank"))
        self.panel.observe(self._on_layer, "layer")
        self.panel.observe(lambda change: self._say(), ["rank", "token", "side", "expert"])
        self.panel.on_msg(self._on_message)
        self.k_slider.observe(self._on_k, "value")
        self.all_on_button.on_click(lambda button: self._read({}, self.reading.k))

    # What a caller may do

    @property
    def reading(self) -> Reading:
        return self._readings.reading

    @property
    def baseline(self) -> Reading:
        return self._readings.baseline

    @property
    def compared(self) -> Reading | None:
        return self._readings.compared

    @property
    def comparison(self) -> Comparison | None:
        return self._readings.comparison

    @property
    def k_note(self) -> str:
        """Why the number of experts per token cannot be changed; "" if it can."""
        return self._readings.k_note

    @property
    def text(self) -> str:
        return self.text_area.value

    @text.setter
    def text(self, text: str) -> None:
        require(isinstance(text, str), "text", type(text).__name__, "a str", TypeError)
        self.text_area.value = text

    @property
    def compare_text(self) -> str | None:
        """The text to compare with; None: no comparison of texts."""
        return self.compare_area.value if self.compare_button.value else None

    @compare_text.setter
    def compare_text(self, text: str | None) -> None:
        require(
            text is None or isinstance(text, str),
            "compare_text",
            type(text).__name__,
            "a str or None",
            TypeError,
        )
        require(
            not self._readings.two_models,
            "compare_text",
            text,
            "no other text where two models are compared",
        )
        if text is not None:
            self.compare_area.value = text
        self.compare_button.value = text is not None

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
        require(
            rank in range(1, k + 1),
            "rank",
            rank,
            f"1 to {k}: each token chooses {count(k, 'expert')}",
        )
        self.rank_buttons.value = rank

    @property
    def k(self) -> int:
        """Experts per token (num_experts_per_tok) in the chosen layer. Set it to read with another;
        None: as trained.

        Setting raises ValueError for a k out of range, or a model whose k cannot be changed.
        """
        return self.reading.k or self._readings.trained_k or self._k(self.layer)

    @k.setter
    def k(self, k: int | None) -> None:
        self._read(self.off, k)

    @property
    def off(self) -> dict[int, tuple[int, ...]]:
        """{layer: experts} that are switched off."""
        return self.reading.off

    @property
    def selected(self) -> dict[str, int | None]:
        """{"token": number or None, "expert": number or None}."""
        return {
            name: None if (value := getattr(self.panel, name)) < 0 else value
            for name in ("token", "expert")
        }

    @property
    def changes(self) -> "pd.DataFrame":
        """The predictions whose most probable token changed, one row each; empty while nothing is
        changed."""
        import pandas as pd  # waits until a table is wanted

        columns = list(Change.__dataclass_fields__)
        return pd.DataFrame([vars(change) for change in self._readings.changes], columns=columns)

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        return self.panel.summary

    def select_token(self, token: int | None, compared: bool = False) -> None:
        """Show one token's affinities; None shows none. `compared`: a token of the second reading.

        ValueError if the text has no such token, or there is no second reading.
        """
        require(
            not compared or self.compared is not None,
            "compared",
            True,
            "False: there is no second reading",
        )
        reading = self.compared if compared else self.reading
        known = token is None or token in range(len(reading))
        require(
            known,
            "token",
            token,
            f"None, or one of the text's {len(reading)} tokens, counted from 0",
        )
        with self.panel.hold_trait_notifications():
            self.panel.side, self.panel.token = int(compared), -1 if token is None else token

    def select_expert(self, expert: int | None) -> None:
        """Show the tokens that choose one expert of the layer; None shows none. ValueError if there
        is no such one."""
        experts = self.reading.trace.layer(self.layer).n_experts
        known = expert is None or expert in range(experts)
        require(known, "expert", expert, f"None, or 0 to {experts - 1}")
        self.panel.expert = -1 if expert is None else expert

    def switch_off(self, experts) -> None:
        """Switch these experts of the chosen layer off, all its others on; [] switches all of them
        on.

        The model reads the text again. Raises ValueError if there is no such expert or too few are
        left.
        """
        self._read({**self.off, self.layer: tuple(experts)}, self.reading.k)

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

    def save_html(self, path: str | Path) -> Path:
        """Write one HTML page that works without a kernel and without a network; returns its path.

        Layers, choices, tokens and experts can be chosen there; changing k, and switching experts
        off, needs the model and stays here.
        """
        return write_page(
            path, shown_texts(self._readings), {name: getattr(self.panel, name) for name in _STATE}
        )

    # What happens

    def _k(self, layer: int) -> int:
        return self.reading.trace.layer(layer).experts.shape[-1]

    def _read(self, off: dict, k: int | None) -> None:
        """Read what has changed, and show it."""
        old = self.compared if self.panel.side else self.reading
        self._readings.read(
            self.text, self.compare_text, off, None if k == self._readings.trained_k else k
        )
        new = self.compared if self.panel.side else self.reading
        token = self.panel.token
        if token >= 0 and (new is None or new.pieces[: token + 1] != old.pieces[: token + 1]):
            self.select_token(None)  # another token stands there now
        self._controls.follow_compare()
        self._show()

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
        self._follow()

    def _follow(self) -> None:
        self.all_on_button.disabled = not self.off
        self.k_slider.value = self._slider_k()

    def _say(self) -> None:
        panel, chosen = self.panel, self.selected
        panel.summary = self._readings.summary(
            panel.layer, panel.rank, chosen["token"], panel.side, chosen["expert"]
        )

    def _fit_ranks(self) -> None:
        if len(self.rank_buttons.options) != (k := self._k(self.layer)):
            rank = min(self.rank, k)
            self.rank_buttons.options = rank_options(k)
            self.rank_buttons.value = rank

    def _on_layer(self, change) -> None:
        if self.panel.expert >= self.reading.trace.layer(self.layer).n_experts:
            self.panel.expert = -1
        self._fit_ranks()
        self._say()

    def _slider_k(self) -> int:
        return self.reading.k or self._readings.trained_k

    def _on_k(self, change) -> None:
        """The slider moved: by a reader, or because k was set."""
        if change.new == self._slider_k():
            return
        try:
            self.k = change.new or None
        except ValueError as error:
            self.k_slider.value = self._slider_k()
            self.panel.problem = f"The number of experts per token stays as it is: {error}"

    def _on_message(self, panel, content: dict, buffers) -> None:
        """explorer.js asks to switch one expert off or on."""
        layer, expert = int(content["layer"]), int(content["toggle"])
        experts = set(self.off.get(layer, ())) ^ {expert}
        try:
            self._read({**self.off, layer: tuple(sorted(experts))}, self.reading.k)
        except ValueError as error:
            self.panel.problem = f"Expert {expert} stays as it is: {error}"


def explore(
    model: nn.Module,
    tokenizer,
    text: str = EXAMPLE,
    max_tokens: int = 512,
    *,
    compare_text: str | None = None,
    compare_model: nn.Module | None = None,
    compare_tokenizer=None,
    names: tuple[str, str] | None = None,
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

    Raises TypeError or ValueError, naming the argument, as `moe_lib.tracing.read_text` does.
    """
    return RoutingExplorer(
        model,
        tokenizer,
        text,
        max_tokens,
        compare_text=compare_text,
        compare_model=compare_model,
        compare_tokenizer=compare_tokenizer,
        names=names,
    )

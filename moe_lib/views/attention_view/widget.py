"""Attention maps: who looks at whom, for one head of one layer, models side by side on the same
text."""

from base64 import b64encode
from collections.abc import Mapping
from html import escape

import ipywidgets as widgets
from matplotlib.figure import Figure
from torch import nn

from moe_lib.errors import require, require_whole
from moe_lib.tracing.attention_maps import AttentionMaps, attention_maps
from moe_lib.validation import Count, Natural, Tokenizer, checked
from moe_lib.views.kit.attributes import KnownAttributes
from moe_lib.views.kit.lettering import plain_words, shortened
from moe_lib.views.kit.page_messages import said
from moe_lib.views.kit.page_messages import text as check_text
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.kit.wording import apart

SENTENCE = "The list is sorted in place, and None is returned."


@checked
@plain_words
def attention_figure(maps: Mapping[str, AttentionMaps], layer: Natural, head: Natural) -> Figure:
    """One heat map per model: rows are the tokens that look, columns the tokens looked at; dark is
    no attention.

    Colours follow the square root of the weight, so that small weights show; the scale gives the
    weights.
    """
    require(len(maps) > 0, "maps", "none", "those of at least one model")
    for name, place, number in (("layer", 0, layer), ("head", 1, head)):
        sizes = [one.weights.shape[place] for one in maps.values() if one.labels]
        least = min(sizes, default=number + 1)
        require(number < least, name, number, f"a number from 0 to {least - 1}")
    tokens = max(1, *(len(one.labels) for one in maps.values()))
    side = 1.4 + 0.2 * max(8, tokens)
    figure = Figure(figsize=(side * len(maps) + 0.5, side), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    image = None
    for ax, (name, one) in zip(axes, maps.items(), strict=True):
        ax.set_title(f"{shortened(name)}: layer {layer}, head {head}", fontsize=10)
        if not one.labels:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "no text yet", ha="center", transform=ax.transAxes)
            continue
        image = ax.imshow(one.weights[layer, head].sqrt().numpy(), cmap="viridis", vmin=0, vmax=1)
        places, labels = range(len(one.labels)), [shortened(label, 16) for label in one.labels]
        ax.set_xticks(places, labels, rotation=90, fontsize=8)
        ax.set_yticks(places, labels, fontsize=8)
        ax.set_xlabel("looked at", fontsize=9)
    axes[0].set_ylabel("looking", fontsize=9)
    if image is not None:
        bar = figure.colorbar(image, ax=list(axes), shrink=0.7, ticks=[0, 0.1**0.5, 0.5, 1])
        bar.ax.set_yticklabels(["0", "0.1", "0.25", "1"], fontsize=8)
        bar.set_label("weight", fontsize=9)
    return figure


def attention_words(maps: Mapping[str, AttentionMaps], layer: int, head: int) -> str:
    """What `attention_figure` shows, in words."""
    sentences = [
        f"Attention of layer {layer}, head {head}: a row per looking token, a column per "
        "token looked at."
    ]
    for name, one in ((apart(name), one) for name, one in maps.items()):
        if not one.labels:
            sentences.append(f"The {name} model has no text yet.")
            continue
        weights = one.weights[layer, head]
        first = (
            1 if one.causal and len(one.labels) > 1 else 0
        )  # a causal model's first token can see itself only
        row, column = divmod(int(weights[first:].argmax()), len(one.labels))
        row += first
        share = one.future_share(layer, head)
        triangle = (
            "the upper triangle is dark, no token sees a later one"
            if share == 0
            else (f"the upper triangle is lit, {share:.0%} of the attention goes to later tokens")
        )
        sentences.append(
            f"The {name} model, {len(one.labels)} tokens: {triangle}; the largest weight, "
            f"{float(weights[row, column]):.2f}, is that of token {row} ({apart(one.labels[row])}) "
            f"looking at token {column} ({apart(one.labels[column])})."
        )
    return " ".join(sentences)


class AttentionViewer(KnownAttributes, StaticDisplay, widgets.VBox):
    """Attention maps to play with: type a text, choose a layer and a head.

    Controls, also for code:  text_box, layer_slider, head_slider (ipywidgets)
    State to read:            maps (name -> AttentionMaps), layer, head, summary (what is shown, in
    words), figure()
    """

    TELLS = ("maps",)

    @checked
    def __init__(
        self,
        models: Mapping[str, nn.Module],
        tokenizer: Tokenizer,
        text: str = SENTENCE,
        max_tokens: Count = 32,
    ):
        wants = "a dict of at least one model"
        require(len(models) > 0, "models", {}, wants)
        for name, model in models.items():
            config = getattr(model, "config", None)
            layered = isinstance(model, nn.Module) and hasattr(config, "num_attention_heads")
            place, got = f"models[{name!r}]", type(model).__name__
            require(layered, place, got, "a moe_lib LanguageModel", TypeError)
        layers = min(model.config.num_hidden_layers for model in models.values())
        heads = min(model.config.num_attention_heads for model in models.values())
        self._models, self._tokenizer, self._max_tokens = dict(models), tokenizer, max_tokens
        style = {"description_width": "45px"}
        self.text_box = widgets.Text(
            text,
            description="Text",
            placeholder="Type a sentence",
            style=style,
            layout={"width": "98%"},
            continuous_update=True,
        )
        self.layer_slider = widgets.IntSlider(0, 0, layers - 1, description="Layer", style=style)
        self.head_slider = widgets.IntSlider(0, 0, heads - 1, description="Head", style=style)
        self.picture, self.words = widgets.HTML(), widgets.HTML()
        controls = widgets.HBox(
            [self.layer_slider, self.head_slider], layout={"flex_flow": "row wrap"}
        )
        self._read()
        super().__init__([self.text_box, controls, self.picture, self.words])
        self.text_box.observe(self._on_text, "value")
        for slider in (self.layer_slider, self.head_slider):
            slider.observe(lambda change: self._show(), "value")
        self._made = True

    @property
    def text(self) -> str:
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        check_text("text", text)
        self.text_box.value = text

    @property
    def layer(self) -> int:
        return self.layer_slider.value

    @layer.setter
    def layer(self, layer: int) -> None:
        require_whole("layer", layer, 0, self.layer_slider.max)
        self.layer_slider.value = layer

    @property
    def head(self) -> int:
        return self.head_slider.value

    @head.setter
    def head(self, head: int) -> None:
        require_whole("head", head, 0, self.head_slider.max)
        self.head_slider.value = head

    @property
    def summary(self) -> str:
        return attention_words(self.maps, self.layer, self.head)

    def figure(self) -> Figure:
        return attention_figure(self.maps, self.layer, self.head)

    def _read(self) -> None:
        text, limit = self.text_box.value, self._max_tokens
        self._maps = {
            name: attention_maps(model, self._tokenizer, text, limit)
            for name, model in self._models.items()
        }
        self._text = text
        self._show()

    def _on_text(self, change) -> None:
        """A text was typed. A refusal is said, and the last text that could be read comes back."""
        try:
            check_text("text", change.new)
            self._read()
        except Exception as error:  # the page cannot raise
            self.text_box.value = self._text
            self.words.value = f'<p role="alert">{escape(said(error))}</p>{self.words.value}'

    def _show(self) -> None:
        encoded, words = b64encode(self.png()).decode("ascii"), escape(self.summary)
        self.picture.value = (
            f'<img style="max-width: 100%" alt="{words}" src="data:image/png;base64,{encoded}">'
        )
        self.words.value = f'<div style="line-height: 1.4" aria-live="polite">{words}</div>'


def view_attention(
    models: Mapping[str, nn.Module], tokenizer, text: str = SENTENCE, max_tokens: int = 32
) -> AttentionViewer:
    """Open the attention viewer on `models` (a name for each), side by side on the same text.

    Texts are cut at `max_tokens`. Layers and heads that not all models have are left out. Raises
    TypeError or ValueError, naming the argument, for no model, a model that is no LanguageModel, or
    a text that is no str.
    """
    return AttentionViewer(models, tokenizer, text, max_tokens)

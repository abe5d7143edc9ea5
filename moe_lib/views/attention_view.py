"""Attention maps: who looks at whom, for one head of one layer, models side by side on the same text."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import ipywidgets as widgets
import torch
from matplotlib.figure import Figure
from torch import Tensor

from moe_lib.errors import require, require_whole
from moe_lib.model import Attention, LanguageModel, rotate, visible_keys
from moe_lib.views.figures import printable
from moe_lib.views.static_display import StaticDisplay

SENTENCE = "The list is sorted in place, and None is returned."
_SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}


@dataclass(frozen=True)
class AttentionMaps:
    """The attention of one model on one text.

    labels   the tokens as words for the eye
    weights  (layers, heads, tokens, tokens) float32; weights[l, h, i, j] is how much of token j's value goes into
             token i, in head h of layer l. Every row sums to 1.
    causal   True for a next-token model
    """

    labels: tuple[str, ...]
    weights: Tensor
    causal: bool

    def future_share(self, layer: int, head: int) -> float:
        """Share of all attention in one head that goes to later tokens, 0 to 1; 0 in a causal model."""
        chosen = self.weights[layer, head]
        return float(chosen.triu(1).sum() / chosen.sum())


@torch.no_grad()
def attention_weights(model: LanguageModel, input_ids: Tensor) -> Tensor:
    """Run `model` on input_ids (batch, sequence) and return (layers, batch, heads, sequence, sequence) weights.

    The fast attention kernel never shows its weights, so they are computed again from what each layer was given,
    with the mask it used. Raises TypeError for a model that is no LanguageModel.
    """
    require(isinstance(model, LanguageModel), "model", type(model).__name__, "a moe_lib LanguageModel", TypeError)
    found: list[Tensor] = []
    hooks = [
        block.attention.register_forward_pre_hook(lambda module, given: found.append(_weights(module, *given)))
        for block in model.layers
    ]
    was_training = model.training
    model.eval()
    try:
        model(input_ids.to(model.device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return torch.stack(found).float().cpu()


def _weights(attention: Attention, x: Tensor, angles: Tensor, visible: Tensor | None = None, cache=None) -> Tensor:
    """softmax(query · key / sqrt(head_dim)) over the visible keys, (batch, heads, sequence, sequence)."""
    query = rotate(attention.q_proj(x).unflatten(-1, (attention.heads, -1)).transpose(1, 2), angles)
    key = rotate(attention.k_proj(x).unflatten(-1, (attention.kv_heads, -1)).transpose(1, 2), angles)
    key = key.repeat_interleave(attention.heads // attention.kv_heads, dim=1)  # a group of heads shares its keys
    scores = query @ key.transpose(-1, -2) / attention.head_dim**0.5
    if visible is None:
        nothing_padded = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        visible = visible_keys(attention.causal, x.shape[1], nothing_padded)
    return scores.masked_fill(~visible, -torch.inf).softmax(-1)


def attention_maps(model: LanguageModel, tokenizer, text: str, max_tokens: int = 32) -> AttentionMaps:
    """Let `model` read the first `max_tokens` tokens of `text`. TypeError or ValueError for a wrong argument."""
    require(isinstance(text, str), "text", type(text).__name__, "a str", TypeError)
    require_whole("max_tokens", max_tokens)
    ids = tokenizer(text)["input_ids"][: min(max_tokens, model.config.max_position_embeddings)]
    if not ids:
        config = model.config
        empty = torch.zeros(config.num_hidden_layers, config.num_attention_heads, 0, 0)
        return AttentionMaps((), empty, config.causal)
    weights = attention_weights(model, torch.tensor([ids]))[:, 0]
    return AttentionMaps(tuple(_label(tokenizer.decode([i])) for i in ids), weights, model.config.causal)


def _label(piece: str) -> str:
    shown = piece.strip(" ") or piece  # the space before a word says nothing here
    return printable("".join(_SIGNS.get(character, character) for character in shown))


def attention_figure(maps: Mapping[str, AttentionMaps], layer: int, head: int) -> Figure:
    """One heat map per model: rows are the tokens that look, columns the tokens looked at; dark is no attention.

    Colours follow the square root of the weight, so that small weights show; the scale gives the weights.
    """
    tokens = max(1, *(len(one.labels) for one in maps.values()))
    side = 1.4 + 0.2 * max(8, tokens)
    figure = Figure(figsize=(side * len(maps) + 0.5, side), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    image = None
    for ax, (name, one) in zip(axes, maps.items(), strict=True):
        ax.set_title(f"{name}: layer {layer}, head {head}", fontsize=10)
        if not one.labels:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "no text yet", ha="center", transform=ax.transAxes)
            continue
        image = ax.imshow(one.weights[layer, head].sqrt().numpy(), cmap="viridis", vmin=0, vmax=1)
        places = range(len(one.labels))
        ax.set_xticks(places, one.labels, rotation=90, fontsize=8)
        ax.set_yticks(places, one.labels, fontsize=8)
        for label in (*ax.get_xticklabels(), *ax.get_yticklabels()):
            label.set_parse_math(False)  # a "$" in the text is a "$"
        ax.set_xlabel("looked at", fontsize=9)
    axes[0].set_ylabel("looking", fontsize=9)
    if image is not None:
        bar = figure.colorbar(image, ax=list(axes), shrink=0.7, ticks=[0, 0.1**0.5, 0.5, 1])
        bar.ax.set_yticklabels(["0", "0.1", "0.25", "1"], fontsize=8)
        bar.set_label("weight", fontsize=9)
    return figure


def attention_words(maps: Mapping[str, AttentionMaps], layer: int, head: int) -> str:
    """What `attention_figure` shows, in words."""
    sentences = [f"Attention of layer {layer}, head {head}: a row per looking token, a column per token looked at."]
    for name, one in maps.items():
        if not one.labels:
            sentences.append(f"The {name} model has no text yet.")
            continue
        weights = one.weights[layer, head]
        first = 1 if one.causal and len(one.labels) > 1 else 0  # a causal model's first token can see itself only
        row, column = divmod(int(weights[first:].argmax()), len(one.labels))
        row += first
        share = one.future_share(layer, head)
        triangle = "the upper triangle is dark, no token sees a later one" if share == 0 else (
            f"the upper triangle is lit, {share:.0%} of the attention goes to later tokens")  # fmt: skip
        sentences.append(f"The {name} model, {len(one.labels)} tokens: {triangle}; the largest weight, "
                         f"{float(weights[row, column]):.2f}, is that of token {row} ({one.labels[row]}) "
                         f"looking at token {column} ({one.labels[column]}).")  # fmt: skip
    return " ".join(sentences)


class AttentionViewer(StaticDisplay, widgets.VBox):
    """Attention maps to play with: type a text, choose a layer and a head.

    Controls, also for code:  text_box, layer_slider, head_slider (ipywidgets)
    State to read:            maps (name -> AttentionMaps), layer, head, summary (what is shown, in words), figure()
    """

    def __init__(self, models: Mapping[str, LanguageModel], tokenizer, text: str = SENTENCE, max_tokens: int = 32):
        require(bool(models), "models", models, "at least one model by name")
        layers = min(model.config.num_hidden_layers for model in models.values())
        heads = min(model.config.num_attention_heads for model in models.values())
        self._models, self._tokenizer, self._max_tokens = dict(models), tokenizer, max_tokens
        style = {"description_width": "45px"}
        self.text_box = widgets.Text(text, description="Text", placeholder="Type a sentence", style=style,
                                     layout={"width": "98%"}, continuous_update=True)  # fmt: skip
        self.layer_slider = widgets.IntSlider(0, 0, layers - 1, description="Layer", style=style)
        self.head_slider = widgets.IntSlider(0, 0, heads - 1, description="Head", style=style)
        self.picture, self.words = widgets.HTML(), widgets.HTML()
        controls = widgets.HBox([self.layer_slider, self.head_slider], layout={"flex_flow": "row wrap"})
        self._read()
        super().__init__([self.text_box, controls, self.picture, self.words])
        self.text_box.observe(lambda change: self._read(), "value")
        for slider in (self.layer_slider, self.head_slider):
            slider.observe(lambda change: self._show(), "value")

    @property
    def layer(self) -> int:
        return self.layer_slider.value

    @property
    def head(self) -> int:
        return self.head_slider.value

    @property
    def summary(self) -> str:
        return attention_words(self.maps, self.layer, self.head)

    def figure(self) -> Figure:
        return attention_figure(self.maps, self.layer, self.head)

    def _read(self) -> None:
        text, limit = self.text_box.value, self._max_tokens
        self.maps = {name: attention_maps(model, self._tokenizer, text, limit) for name, model in self._models.items()}
        self._show()

    def _show(self) -> None:
        encoded, words = b64encode(self.png()).decode("ascii"), escape(self.summary)
        self.picture.value = f'<img style="max-width: 100%" alt="{words}" src="data:image/png;base64,{encoded}">'
        self.words.value = f'<div style="line-height: 1.4" aria-live="polite">{words}</div>'


def view_attention(models: Mapping[str, LanguageModel], tokenizer, text: str = SENTENCE,
                   max_tokens: int = 32) -> AttentionViewer:  # fmt: skip
    """Open the attention viewer on `models` (a name for each), side by side on the same text.

    Texts are cut at `max_tokens`. Layers and heads that not all models have are left out. Raises TypeError or
    ValueError, naming the argument, for no model, a model that is no LanguageModel, or a text that is no str.
    """
    return AttentionViewer(models, tokenizer, text, max_tokens)

"""Attention maps of a model on a text: who looks at whom, in every head of every layer."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel, LatentAttention, rotate, visible_keys
from moe_lib.modules import as_written, bare, eval_mode
from moe_lib.tracing.token_labels import visible
from moe_lib.validation import Count, Text, Tokenizer, checked


@dataclass(frozen=True)
class AttentionMaps:
    """The attention of one model on one text.

    labels   the tokens as words for the eye
    weights  (layers, heads, tokens, tokens) float32; weights[l, h, i, j] is how much of token j's
             value goes into token i, in head h of layer l. Every row sums to 1.
    causal   True for a next-token model
    """

    labels: tuple[str, ...]
    weights: Tensor
    causal: bool

    def future_share(self, layer: int, head: int) -> float:
        """Share of all attention in one head that goes to later tokens, 0 to 1; 0 in a causal
        model."""
        chosen = self.weights[layer, head]
        return float(chosen.triu(1).sum() / chosen.sum())


@checked
@torch.no_grad()
def attention_weights(model: nn.Module, input_ids: Tensor) -> Tensor:
    """Run `model` on input_ids (batch, sequence) and return (layers, batch, heads, sequence, keys)
    weights.

    The keys are the tokens of the sequence. With prefix-tuning attached, the places of the prefix
    come before them: the sum over these columns is the share of the attention that goes to the
    prefix. The fast attention kernel never shows its weights, so they are computed again from what
    each layer was given, with the mask it used. Raises TypeError for a model that is no
    LanguageModel.
    """
    model = _own(model)
    found: list[Tensor] = []
    hooks = [
        bare(block.attention).register_forward_pre_hook(
            lambda module, given: found.append(_weights(module, *given))
        )
        for block in model.layers
    ]
    try:
        with eval_mode(model), as_written():
            model(input_ids.to(model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found).float().cpu()


def _own(model: nn.Module) -> LanguageModel:
    model = bare(model)
    wants = "a moe_lib LanguageModel"
    require(isinstance(model, LanguageModel), "model", type(model).__name__, wants, TypeError)
    return model


def _weights(
    attention: nn.Module, x: Tensor, angles: Tensor, visible: Tensor | None = None, cache=None
) -> Tensor:
    """softmax(scale · query · key) over the visible keys, (batch, heads, sequence, keys).

    cache   stands in front of the text with keys of its own, as a prefix does; it is asked as the
            layer asks it"""
    if isinstance(attention, LatentAttention):
        query, memory, scale = (
            attention.query(x, angles),
            attention.memory(x, angles),
            attention.scale,
        )
        if cache is not None:
            memory, _ = cache.append(attention.layer, memory)
        key, _ = attention.keys_and_values(memory)
    else:
        query, key, value = (
            projection(x).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key, scale = rotate(query, angles), rotate(key, angles), attention.head_dim**-0.5
        if cache is not None:
            key, _ = cache.append(attention.layer, key, value)
        key = key.repeat_interleave(
            attention.heads // attention.kv_heads, dim=1
        )  # a group of heads shares its keys
    scores = query @ key.transpose(-1, -2) * scale
    if visible is None:
        nothing_padded = torch.ones(len(x), key.shape[2], dtype=torch.bool, device=x.device)
        visible = visible_keys(
            attention.causal, x.shape[1], nothing_padded, past=key.shape[2] - x.shape[1]
        )
    return scores.masked_fill(~visible, -torch.inf).softmax(-1)


@checked
def attention_maps(
    model: nn.Module, tokenizer: Tokenizer, text: Text, max_tokens: Count = 32
) -> AttentionMaps:
    """Let `model` read the first `max_tokens` tokens of `text`.

    TypeError or ValueError for a wrong argument, and for a model with prefix-tuning that is
    switched on: a map has a column for every token, and the places of a prefix are no tokens
    (`attention_weights` gives those, too)."""
    model = _own(model)
    ids = tokenizer(text)["input_ids"][: min(max_tokens, model.config.max_position_embeddings)]
    if not ids:
        config = model.config
        empty = torch.zeros(config.num_hidden_layers, config.num_attention_heads, 0, 0)
        return AttentionMaps((), empty, config.causal)
    weights = attention_weights(model, torch.tensor([ids]))[:, 0]
    require(
        weights.shape[-1] == len(ids),
        "model",
        f"a model with {weights.shape[-1] - len(ids)} keys before the text",
        "one without a prefix: set enabled = False on the attached method, or use "
        "attention_weights",
    )
    return AttentionMaps(
        tuple(_label(tokenizer.decode([i])) for i in ids), weights, model.config.causal
    )


def _label(piece: str) -> str:
    return visible(piece.strip(" ") or piece)  # the space before a word says nothing here

"""Writing with a causal model, token by token, with a key-value cache."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moe_lib.errors import require, require_whole
from moe_lib.model.cache import KVCache

if TYPE_CHECKING:
    from moe_lib.model.language_model import LanguageModel


@torch.no_grad()
def generate(model: "LanguageModel", input_ids: Tensor, max_new_tokens: int, *, attention_mask: Tensor | None = None,
             temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
             stop_token_ids: Collection[int] = (), pad_token_id: int = 0, use_cache: bool = True,
             generator: torch.Generator | None = None) -> Tensor:  # fmt: skip
    """Continue input_ids (batch, sequence) -> (batch, sequence + new).

    temperature     0 takes the likeliest token; above 0 samples from softmax(logits / temperature)
    top_k, top_p    sample among the k likeliest, or the smallest set whose probability reaches p
    attention_mask  (batch, sequence): prompts of several lengths, padded on the left
    stop_token_ids  a row that writes one of these is finished and padded with pad_token_id; all finished: stop
    use_cache       False recomputes the whole sequence for every token: the same tokens, slower
    generator       seeds the sampling

    Raises ValueError for a masked model, a prompt padded on the right, more positions than the model has, or
    settings out of range.
    """
    _check(model, input_ids, max_new_tokens, attention_mask, temperature, top_k, top_p)
    was_training = model.training
    model.eval()
    try:
        cache = KVCache() if use_cache else None
        finished = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        ids, mask, fresh = input_ids, attention_mask, input_ids
        for _ in range(max_new_tokens):
            logits = model(fresh, attention_mask=mask, cache=cache).logits[:, -1]
            token = choose(logits, temperature, top_k, top_p, generator)
            token = torch.where(finished, pad_token_id, token)
            ids = torch.cat((ids, token[:, None]), dim=1)
            if mask is not None:
                mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
            for stop in stop_token_ids:
                finished = finished | (token == stop)
            if stop_token_ids and bool(finished.all()):
                break
            fresh = token[:, None] if use_cache else ids
        return ids
    finally:
        model.train(was_training)


def choose(logits: Tensor, temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
           generator: torch.Generator | None = None) -> Tensor:  # fmt: skip
    """Pick one token per row of logits (batch, vocab) -> (batch,)."""
    if temperature == 0:
        return logits.argmax(-1)
    scaled = logits.float() / temperature
    if top_k is not None:
        smallest_kept = scaled.topk(min(top_k, scaled.shape[-1]), dim=-1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < smallest_kept, -torch.inf)
    if top_p is not None:
        ordered, order = scaled.sort(-1, descending=True)
        probability = ordered.softmax(-1)
        outside = probability.cumsum(-1) - probability >= top_p  # the mass before a token already reaches p
        scaled = scaled.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    return torch.multinomial(scaled.softmax(-1), 1, generator=generator)[:, 0]


def _check(model, input_ids, max_new_tokens, attention_mask, temperature, top_k, top_p):
    require(model.config.causal, "model", "a masked language model", "a causal one (config.causal = True) to generate")
    require_whole("max_new_tokens", max_new_tokens, at_least=0)
    require(isinstance(input_ids, Tensor) and input_ids.dim() == 2 and input_ids.shape[1] > 0, "input_ids",
            tuple(getattr(input_ids, "shape", ())), "a tensor (batch, sequence) with at least one token")  # fmt: skip
    total, limit = input_ids.shape[1] + max_new_tokens, model.config.max_position_embeddings
    require(total <= limit, "max_new_tokens", max_new_tokens,
            f"at most {limit - input_ids.shape[1]}: the model has {limit} positions")  # fmt: skip
    require(temperature >= 0, "temperature", temperature, "0 (greedy) or more")
    require(top_k is None or top_k >= 1, "top_k", top_k, "None, or at least 1")
    require(top_p is None or 0 < top_p <= 1, "top_p", top_p, "None, or more than 0 and at most 1")
    if attention_mask is not None:
        require(bool(attention_mask[:, -1].all()), "attention_mask", "padding at the end of a prompt",
                "padding on the left: the next token continues the last position")  # fmt: skip

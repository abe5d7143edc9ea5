"""The check of exercise 03.3: logits of the next token, with the keys and values that were kept."""

import torch

from moe_course.checks.comparisons import (
    NotYet,
    expect_answer,
    expect_close,
    expect_equal,
    expect_true,
)
from moe_lib import LanguageModel, ModelConfig
from moe_lib.model import KVCache, rotary_angles

# What a wrong call computes: where the new tokens stand when `past` are held, and what is read.
_PLACES = {
    "from the second call on they differ: what would the model have to be told of the tokens "
    "that are new?": lambda past, new: torch.arange(new),
    "the new token stands one place too far left: the first free place is number "
    "`cache.length`": lambda past, new: torch.arange(max(past - 1, 0), max(past - 1, 0) + new),
    "the new token stands one place too far right, as if a token were missing before "
    "it": lambda past, new: torch.arange(past + (past > 0), past + (past > 0) + new),
    "all new tokens stand at the same place": lambda past, new: torch.full((new,), past),
}


@torch.no_grad()
def _next_logits(model, fresh, cache, places, read=-1, norm=True, keep=True):
    """As the exercise's function should be, with the new tokens at `places`."""
    angles = rotary_angles(places[None], model.config.head_dim, model.config.rope_theta)
    hidden = model.embedding(fresh)
    for layer in model.layers:
        hidden, _ = layer(hidden, angles, None, cache if keep else None)
    hidden = hidden[:, read]
    return model.head(model.norm(hidden) if norm else hidden)


def check_cached_logits(next_logits):
    torch.manual_seed(3)
    config = ModelConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        max_position_embeddings=32,
        initializer_range=0.3,
    )
    model = LanguageModel(config).eval()
    ids = torch.randint(0, 50, (1, 12))
    with torch.no_grad():
        right = model(ids).logits
    for pieces in ((5,) + (1,) * 7, (1,) * 12):
        _expect_continued(next_logits, model, ids, right, pieces)
    return "With the cache and without it: the same logits."


def _expect_continued(next_logits, model, ids, right, pieces) -> None:
    """The ids come in pieces of these lengths; after each the logits are the whole model's."""
    cache, past = KVCache(), 0
    wrong = {message: KVCache() for message in _PLACES}
    for new in pieces:
        fresh = ids[:, past : past + new]
        hints = {
            message: _next_logits(model, fresh, wrong[message], places(past, new))
            for message, places in _PLACES.items()
        }
        here = torch.arange(past, past + new)
        hints["these are the logits after the first of the new tokens: which one is asked for?"] = (
            right[:, past]
        )
        hints["nothing was read from the cache: the new tokens see themselves only"] = _next_logits(
            model, fresh, None, here
        )
        answer = next_logits(model, fresh, cache)
        expect_answer(answer, "the logits")
        if torch.is_tensor(answer) and answer.shape[1:] == (new, 50) and new > 1:
            raise NotYet("These are the logits of all new tokens; want those of the last one.")
        said = f"the logits after {past + new} tokens, {past} of them from the cache"
        wants = right[:, past + new - 1]
        bare = _without_norm(model, ids[:, : past + new])
        hints["the last norm is missing: the head reads a normed copy"] = bare
        if past:
            hints["the prompt came out right, a later token did not"] = lambda logits: bool(
                torch.isfinite(logits).all()
            )
        expect_close(answer, wants, said, hints, atol=1e-4)
        held = cache.length
        message = "the number of tokens in the cache: "
        expect_true(held > 0, message + "none is kept. Does every layer get `cache`?")
        expect_equal(held, past + new, "the number of tokens in the cache")
        past += new


def _without_norm(model, ids):
    return _next_logits(model, ids, None, torch.arange(ids.shape[1]), norm=False)

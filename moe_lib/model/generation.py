"""Writing with a causal model, token by token, with a cache."""

import dataclasses
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moe_lib.errors import require, require_whole
from moe_lib.model.cache import KVCache
from moe_lib.model.fast.decoding_plan import DecodingPlan, decoding_plan
from moe_lib.model.routing import Routing

if TYPE_CHECKING:
    from moe_lib.model.language_model import LanguageModel


@dataclasses.dataclass(frozen=True)
class NewToken:
    """One step of `stream`.

    ids      (batch,) int64   the token that each row wrote; pad_token_id in a row that had finished
    real     (batch,) bool    False in a row that had finished before
    routing  one per layer    where this very token was sent, a Routing of one token per row; None
             at dense layers
    """

    ids: Tensor
    real: Tensor
    routing: list[Routing | None]


@torch.no_grad()
def generate(
    model: "LanguageModel",
    input_ids: Tensor,
    max_new_tokens: int,
    *,
    attention_mask: Tensor | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token_ids: Collection[int] = (),
    pad_token_id: int = 0,
    use_cache: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Continue input_ids (batch, sequence) -> (batch, sequence + new).

    temperature     0 takes the likeliest token; above 0 samples from softmax(logits / temperature)
    top_k, top_p    sample among the k likeliest, or the smallest set whose probability reaches p
    attention_mask  (batch, sequence): prompts of several lengths, padded on the left
    stop_token_ids  a row that writes one of these is finished and padded with pad_token_id; all
                    finished: stop
    use_cache       False recomputes the whole sequence for every token: the same tokens, slower
    generator       seeds the sampling

    Raises ValueError for a masked model, a prompt padded on the right, more positions than the
    model has, or settings out of range.
    """
    _check(model, input_ids, max_new_tokens, attention_mask, temperature, top_k, top_p)
    writer = _Writer(
        model, input_ids, max_new_tokens, attention_mask, use_cache, stop_token_ids, pad_token_id
    )
    with _evaluating(model):
        for number in range(max_new_tokens):
            if number == 1:
                writer.plan_ahead()
            writer.read()
            writer.write(temperature, top_k, top_p, generator)
            if writer.done:
                break
    return writer.ids


def stream(
    model: "LanguageModel",
    input_ids: Tensor,
    max_new_tokens: int,
    *,
    attention_mask: Tensor | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token_ids: Collection[int] = (),
    pad_token_id: int = 0,
    use_cache: bool = True,
    generator: torch.Generator | None = None,
) -> Iterator[NewToken]:
    """The tokens of `generate`, with the same options and refusals, each as soon as the model has
    read it.

    A token's routing is known once the model reads it, so each NewToken comes one forward pass
    after its choice, and the last token is read too. Between two tokens the model is in the mode it
    was in before.
    """
    _check(model, input_ids, max_new_tokens, attention_mask, temperature, top_k, top_p)
    writer = _Writer(
        model, input_ids, max_new_tokens, attention_mask, use_cache, stop_token_ids, pad_token_id
    )
    return _stream(writer, max_new_tokens, (temperature, top_k, top_p, generator))


@torch.no_grad()
def _stream(writer: "_Writer", max_new_tokens: int, how: tuple) -> Iterator[NewToken]:
    with _evaluating(writer.model):
        writer.read()
    for _ in range(max_new_tokens):
        real = ~writer.finished
        with _evaluating(writer.model):
            token = writer.write(*how)
            output = writer.read()
        rows = len(token)
        yield NewToken(
            token, real, [None if r is None else last_position(r, rows) for r in output.routing]
        )
        if writer.done:
            return


class _Writer:
    """A text in the making: `read` lets the model see what is new, `write` chooses the next token
    of every row."""

    def __init__(
        self,
        model: "LanguageModel",
        input_ids: Tensor,
        max_new_tokens: int,
        attention_mask: Tensor | None,
        use_cache: bool,
        stop_token_ids: Collection[int],
        pad_token_id: int,
    ):
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = None  # nothing is padded: no mask to build, step by step
        self.model, self.ids, self.mask, self.unread = model, input_ids, attention_mask, input_ids
        self.cache = KVCache(room=input_ids.shape[1] + max_new_tokens) if use_cache else None
        self.plan: DecodingPlan | None = None
        self.stop_token_ids, self.pad_token_id = stop_token_ids, pad_token_id
        self.finished = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def plan_ahead(self) -> None:
        """After the prompt: let a DecodingPlan read the rest, if there can be one."""
        if self.cache is not None:
            read = None if self.mask is None else self.mask[:, : self.cache.length]
            self.plan = decoding_plan(self.model, self.cache, read)

    @property
    def done(self) -> bool:
        return bool(self.stop_token_ids) and bool(self.finished.all())

    def read(self):
        if self.plan is not None:
            self.logits = self.plan.step(self.unread[:, 0])
            return None
        output = self.model(
            self.unread, attention_mask=self.mask, cache=self.cache, last_logits_only=True
        )
        self.logits = output.logits[:, -1]
        return output

    def write(self, temperature, top_k, top_p, generator) -> Tensor:
        token = choose(self.logits, temperature, top_k, top_p, generator)
        token = torch.where(self.finished, self.pad_token_id, token)
        self.ids = torch.cat((self.ids, token[:, None]), dim=1)
        if self.mask is not None:
            self.mask = torch.cat((self.mask, torch.ones_like(self.mask[:, :1])), dim=1)
        for stop in self.stop_token_ids:
            self.finished = self.finished | (token == stop)
        self.unread = self.ids if self.cache is None else token[:, None]
        return token


def last_position(routing: Routing, rows: int) -> Routing:
    """The Routing of the last position of each of `rows` sequences: as many tokens as rows."""
    parts = {field.name: getattr(routing, field.name) for field in dataclasses.fields(routing)}
    last = {
        name: part if part is None else part.unflatten(0, (rows, -1))[:, -1]
        for name, part in parts.items()
    }
    return dataclasses.replace(routing, **last)


@contextmanager
def _evaluating(model: "LanguageModel") -> Iterator[None]:
    was_training = model.training
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


def choose(
    logits: Tensor,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
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
        outside = (
            probability.cumsum(-1) - probability >= top_p
        )  # the mass before a token already reaches p
        scaled = scaled.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    chances = scaled.softmax(-1)
    if generator is not None:  # one of the CPU draws the same tokens for every device
        chances = chances.to(generator.device)
    return torch.multinomial(chances, 1, generator=generator)[:, 0].to(logits.device)


def _check(model, input_ids, max_new_tokens, attention_mask, temperature, top_k, top_p):
    require(
        model.config.causal,
        "model",
        "a masked language model",
        "a causal one (config.causal = True) to generate",
    )
    require_whole("max_new_tokens", max_new_tokens, at_least=0)
    require(
        isinstance(input_ids, Tensor) and input_ids.dim() == 2 and input_ids.shape[1] > 0,
        "input_ids",
        tuple(getattr(input_ids, "shape", ())),
        "a tensor (batch, sequence) with at least one token",
    )
    total, limit = input_ids.shape[1] + max_new_tokens, model.config.max_position_embeddings
    require(
        total <= limit,
        "max_new_tokens",
        max_new_tokens,
        f"at most {limit - input_ids.shape[1]}: the model has {limit} positions",
    )
    require(temperature >= 0, "temperature", temperature, "0 (greedy) or more")
    require(top_k is None or top_k >= 1, "top_k", top_k, "None, or at least 1")
    require(top_p is None or 0 < top_p <= 1, "top_p", top_p, "None, or more than 0 and at most 1")
    if attention_mask is not None:
        require(
            bool(attention_mask[:, -1].all()),
            "attention_mask",
            "padding at the end of a prompt",
            "padding on the left: the next token continues the last position",
        )

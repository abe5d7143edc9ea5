"""Writing with a causal model, token by token, with a cache."""

import dataclasses
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.model.cache import KVCache
from moe_lib.model.fast.decoding_plan import DecodingPlan, decoding_plan
from moe_lib.model.routing import Routing
from moe_lib.model_inputs import check_prompt, token_ids
from moe_lib.modules import eval_mode
from moe_lib.validation import Count, Flag, NonNegative, checked, number

if TYPE_CHECKING:
    from moe_lib.model.language_model import LanguageModel, ModelOutput


@dataclasses.dataclass(frozen=True)
class NewToken:
    """One step of `stream`.

    ids      (batch,) int64   the token that each row wrote; pad_token_id if the row had finished
    real     (batch,) bool    False in a row that had finished before
    routing  one per layer    where it was sent, a Routing of one token per row; None if dense
    """

    ids: Tensor
    real: Tensor
    routing: list[Routing | None]


@torch.no_grad()
def generate(model: "LanguageModel", input_ids: Tensor, max_new_tokens: int, **options) -> Tensor:
    """Continue input_ids (batch, sequence) -> (batch, sequence + new); the options of `Writer`."""
    writer = Writer(model, input_ids, max_new_tokens, **options)
    with writing_mode(model):
        for number in range(max_new_tokens):
            if number == 1:
                writer.plan_ahead()
            writer.read()
            writer.write()
            if writer.done:
                break
    return writer.ids


def stream(model: "LanguageModel", input_ids: Tensor, max_new_tokens: int, **options):
    """The tokens of `generate`, each with its routing, which is known once the model reads it: each
    comes one pass after its choice. Between two tokens the model is in its own mode."""
    return _stream(Writer(model, input_ids, max_new_tokens, **options), max_new_tokens)


@torch.no_grad()
def _stream(writer: "Writer", max_new_tokens: int) -> Iterator[NewToken]:
    with writing_mode(writer.model):
        writer.read()
    for _ in range(max_new_tokens):
        real = ~writer.finished
        with writing_mode(writer.model):
            token = writer.write()
            routings = writer.read().routing
        yield NewToken(token, real, [last_position(routing, len(token)) for routing in routings])
        if writer.done:
            return


class Writer:
    """A text in the making: `read` shows the model what is new, `write` chooses the next tokens.

    input_ids       (batch, sequence) int64, the prompts
    attention_mask  (batch, sequence): prompts of several lengths, padded on the left
    temperature     0 takes the likeliest token; above 0 samples from softmax(logits / temperature)
    top_k, top_p    sample among the k likeliest, or the smallest set whose probability reaches p
    stop_token_ids  one id or several: a row that writes one of them is finished, and padded with
                    pad_token_id; when all rows are finished, so is the text
    use_cache       False recomputes the whole sequence for every token: the same tokens, slower
    generator       seeds the sampling

    ValueError or TypeError for a masked model, padding on the right, or settings out of range.
    """

    @checked
    def __init__(
        self,
        model: "LanguageModel",
        input_ids: Tensor,
        max_new_tokens: int,
        *,
        attention_mask: Tensor | None = None,
        temperature: NonNegative = 0.0,
        top_k: Count | None = None,
        top_p: Annotated[float, number(above=0, high=1)] | None = None,
        stop_token_ids: int | Collection[int] | Tensor = (),
        pad_token_id: int = 0,
        use_cache: Flag = True,
        generator: torch.Generator | None = None,
    ):
        check_prompt(model, input_ids, max_new_tokens, attention_mask)
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = None  # nothing is padded: no mask to build, step by step
        self.model, self.ids, self.mask, self.unread = model, input_ids, attention_mask, input_ids
        self.how = (temperature, top_k, top_p, generator)
        self.stops = token_ids("stop_token_ids", stop_token_ids, model.config)
        (self.pad,) = token_ids("pad_token_id", [pad_token_id], model.config)
        self.cache = KVCache(room=input_ids.shape[1] + max_new_tokens) if use_cache else None
        self.plan: DecodingPlan | None = None
        self.finished = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    @property
    def done(self) -> bool:
        return bool(self.stops) and bool(self.finished.all())

    def plan_ahead(self) -> None:
        """After the prompt: let a plan of model/fast read the rest, if there can be one."""
        if self.cache is not None:
            read = None if self.mask is None else self.mask[:, : self.cache.length]
            self.plan = decoding_plan(self.model, self.cache, read)

    def read(self) -> "ModelOutput | None":
        """Set `logits` (batch, vocab) for the next token. A plan gives nothing else."""
        if self.plan is not None:
            self.logits = self.plan.step(self.unread[:, 0])
            return None
        output = self.model(self.unread, self.mask, cache=self.cache, last_logits_only=True)
        self.logits = output.logits[:, -1]
        return output

    def write(self) -> Tensor:
        """The next token of every row, (batch,)."""
        token = torch.where(self.finished, self.pad, choose(self.logits, *self.how))
        self.ids = torch.cat((self.ids, token[:, None]), dim=1)  # (batch, sequence + 1)
        if self.mask is not None:
            self.mask = torch.cat((self.mask, torch.ones_like(self.mask[:, :1])), dim=1)  # as ids
        for stop in self.stops:
            self.finished = self.finished | (token == stop)
        self.unread = self.ids if self.cache is None else token[:, None]
        return token


def choose(logits: Tensor, temperature=0.0, top_k=None, top_p=None, generator=None) -> Tensor:
    """Pick one token per row of logits (batch, vocab) -> (batch,), as `Writer` describes it.
    ValueError for NaN, infinity."""
    best, likeliest = logits.max(-1)  # (batch,) each; NaN counts as the largest
    wants = "finite numbers: the model gives others for this text"
    require(bool(best.isfinite().all()), "logits", "NaN or infinity", wants)
    if temperature == 0:
        return likeliest
    # Relative to the largest, a score divided by a tiny temperature is -infinity, never infinity.
    temperature = max(temperature, torch.finfo(torch.float32).tiny)
    scaled = (logits.float() - best.float()[:, None]) / temperature  # (batch, vocab)
    if top_k is not None:
        smallest_kept = scaled.topk(min(top_k, scaled.shape[-1]), dim=-1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < smallest_kept, -torch.inf)
    if top_p is not None:
        ordered, order = scaled.sort(-1, descending=True)
        probability = ordered.softmax(-1)
        outside = probability.cumsum(-1) - probability >= top_p  # what stands before reaches p
        scaled = scaled.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    chances = scaled.softmax(-1)
    if generator is not None:  # one of the CPU draws the same tokens for every device
        chances = chances.to(generator.device)
    return torch.multinomial(chances, 1, generator=generator)[:, 0].to(logits.device)


def last_position(routing: Routing | None, rows: int) -> Routing | None:
    """The Routing of the last position of each of `rows` sequences: as many tokens as rows."""
    if routing is None:
        return None
    fields = {field.name: getattr(routing, field.name) for field in dataclasses.fields(routing)}
    tensors = {name: value for name, value in fields.items() if value is not None}
    last = {name: tensor.unflatten(0, (rows, -1))[:, -1] for name, tensor in tensors.items()}
    return dataclasses.replace(routing, **last)


def writing_mode(model: "LanguageModel") -> AbstractContextManager:
    """Eval mode for a model in training; another keeps the modes that its owner gave its parts."""
    return eval_mode(model) if model.training else nullcontext()

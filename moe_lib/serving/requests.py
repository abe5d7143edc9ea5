"""What a server is asked for, what it gives back token by token, and what the work has cost."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.model import MoELayer, Routing
from moe_lib.model.generation import choose
from moe_lib.model_inputs import check_prompt, token_ids
from moe_lib.modules import bare
from moe_lib.validation import Count, Flag, NonNegative, Seed, TokenIds, checked, number

if TYPE_CHECKING:
    from moe_lib.model import LanguageModel


class QueueFull(RuntimeError):
    """No place left in the queue: ask again later."""


@checked
@dataclass(frozen=True)
class Request:
    """One text to be continued.

    input_ids       token ids of the prompt, at least one
    max_new_tokens  the text ends after so many
    temperature, top_k, top_p, stop_token_ids   as in `moe_lib.model.generation.Writer`; a stop
                    token is written and ends the text
    seed            of the draws of this request alone: whoever runs beside it changes nothing
    routing         give with each token where the model sent what it read for it

    ValueError or TypeError for a setting out of range; what depends on the model is checked by
    whoever takes the request.
    """

    input_ids: TokenIds
    max_new_tokens: Count
    temperature: NonNegative = 0.0
    top_k: Count | None = None
    top_p: Annotated[float, number(above=0, high=1)] | None = None
    seed: Seed = 0
    stop_token_ids: int | Collection[int] = ()
    routing: Flag = False


@dataclass(frozen=True)
class Written:
    """One token of one request, or its end.

    request   the number that `submit` gave
    token     the id that was written; None if the request ended without one
    routing   one per layer: the Routing of the tokens that were read for this one, which are the
              prompt at first and then the token before; None in a dense layer. None altogether
              unless the request asked for it
    finished  None while it goes on; then "length", "stop", "cancelled" or "error"
    error     what went wrong, in words, if finished is "error"
    """

    request: int
    token: int | None
    routing: list[Routing | None] | None = None
    finished: str | None = None
    error: str | None = None


@dataclass
class Work:
    """What the model was made to do.

    passes     calls of the model
    positions  rows times columns of what it was given: tokens and padding
    padded     of them padding: no token, or one of a text that had ended
    tokens     new tokens that somebody asked for
    """

    passes: int = 0
    positions: int = 0
    padded: int = 0
    tokens: int = 0

    @property
    def waste(self) -> float:
        """Padded positions over all, 0 to 1."""
        return self.padded / max(1, self.positions)


@dataclass
class Running:
    """A request that has been taken: its draws, and what is written so far."""

    number: int
    request: Request
    stops: frozenset[int]
    generator: torch.Generator
    new: list[int] = field(default_factory=list)

    @property
    def prompt(self) -> list[int]:
        return list(self.request.input_ids)

    @property
    def held(self) -> int:
        """Positions that are read, and so in a cache, once there is a new token."""
        return len(self.request.input_ids) + len(self.new) - 1

    @property
    def most(self) -> int:
        """Positions that a cache can come to hold: the last token is never read."""
        return len(self.request.input_ids) + self.request.max_new_tokens - 1

    def write(self, logits: Tensor, routing: list[Routing | None] | None = None) -> Written:
        """Choose the next token by logits (vocab,). Logits that are not finite end this request
        alone."""
        ask = self.request
        try:
            how = ask.temperature, ask.top_k, ask.top_p, self.generator
            token = int(choose(logits[None], *how))
        except ValueError as error:
            return Written(self.number, None, None, "error", str(error))
        self.new.append(token)
        finished = "length" if len(self.new) == ask.max_new_tokens else None
        if token in self.stops:
            finished = "stop"
        return Written(self.number, token, routing if ask.routing else None, finished)


def taken(model: "LanguageModel", number: int, request: Request) -> Running:
    """The request, if this model can do it; else the error of `generate`."""
    require(isinstance(request, Request), "request", request, "a Request", TypeError)
    ids = torch.tensor([list(request.input_ids)], device=model.device)  # (1, prompt)
    check_prompt(model, ids, request.max_new_tokens, None)
    stops = frozenset(token_ids("stop_token_ids", request.stop_token_ids, model.config))
    return Running(number, request, stops, torch.Generator().manual_seed(request.seed))


def servable(model: object) -> "LanguageModel":
    """The model behind wrappers, if its texts can share passes: a causal LanguageModel whose
    routers give a token the same experts whatever stands beside it. ValueError names the router
    that does not: expert choice, and in training mode a capacity limit, noise or an assignment."""
    from moe_lib.model import LanguageModel

    model = bare(model)
    wants = "a causal LanguageModel"
    require(isinstance(model, LanguageModel), "model", model, wants, TypeError)
    wants = "a causal one (config.causal = True) to generate"
    require(model.config.causal, "model", "a masked language model", wants)
    for module in model.modules():
        if isinstance(module, MoELayer):
            router = bare(module.router)
            alone = router.causal and (model.training or not router.training)
            mode = "" if router.causal else " in any mode"
            got = f'router "{router.name}"{mode or " in training mode"}'
            wants = "routers whose choice for a token does not depend on its neighbours"
            require(alone, "model", got, wants)
    return model

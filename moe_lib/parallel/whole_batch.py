"""The batch of one step over all ranks: each takes its rows, losses count as in one process."""

from dataclasses import fields, replace

import torch
from torch import Tensor

from moe_lib.config import ModelConfig
from moe_lib.model import Routing
from moe_lib.model.balance import total_balance_loss
from moe_lib.parallel.collectives import joined
from moe_lib.parallel.ranks import here

# These are means over tokens, not over sequences, whatever seq_aux says.
_OF_TOKENS = ("router_z_loss_alpha", "importance_loss_alpha", "load_loss_alpha")


def own_rows(batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """This rank's part of a batch's rows, nearly as many as the others', and 1.0. Where there are
    fewer rows than ranks, some rank gets the first row again, and 0.0: it counts for nothing, but
    every rank has something to run."""
    ranks = here()
    rows = torch.arange(len(batch["input_ids"])).tensor_split(ranks.size)[ranks.rank]
    weight = float(len(rows) > 0)
    rows = rows if weight else torch.zeros(1, dtype=torch.int64)
    return {name: part[rows[0] : rows[-1] + 1] for name, part in batch.items()}, weight


def needs_all_tokens(config: ModelConfig) -> bool:
    """Is the balance loss more than a mean over sequences? Then it needs the routing of all
    ranks."""
    return not config.seq_aux or any(getattr(config, name) for name in _OF_TOKENS)


def balance_over_all(routings: list, config: ModelConfig, rows: int, mask: Tensor | None) -> Tensor:
    """The balance loss of the tokens of all ranks, the same number on every rank, with a gradient
    for the own tokens.

    routings  a Routing per layer (None at dense ones) of `rows` sequences on this rank; 0 of them:
              none of its tokens counts
    mask      (tokens,) bool, False at padding

    The record of every token travels to every rank: E scores and E logits, which is little beside
    its hidden states.
    """
    layers = [routing for routing in routings if routing is not None]
    if not layers:
        return torch.zeros(())
    tokens = len(layers[0].experts)
    real = torch.ones(tokens, device=layers[0].experts.device) if mask is None else mask.float()
    marks = joined(real if rows else real[:0])
    everybody = [routing and _joined(routing, rows) for routing in routings]
    sequences = int(joined(torch.ones(rows, device=real.device)).sum()) if config.seq_aux else 1
    return total_balance_loss(everybody, config, sequences, marks.bool())


def _joined(routing: Routing, rows: int) -> Routing:
    """The record of all ranks' tokens, rank after rank."""
    parts = {field.name: getattr(routing, field.name) for field in fields(routing)}
    parts = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
    return replace(routing, **{n: joined(part if rows else part[:0]) for n, part in parts.items()})

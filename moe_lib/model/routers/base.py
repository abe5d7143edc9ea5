"""What all routers share: a row of weights per expert, logits in float32, capacity while
training."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.errors import require, require_whole
from moe_lib.model.routers.capacity import limit_devices, limit_experts
from moe_lib.model.routing import Routing


class Router(nn.Module):
    """A router gives each token its experts. A subclass says in `route` how logits become choices.

    hidden_size, n_routed_experts (E), num_experts_per_tok (k)
    routed_scaling_factor   constant that multiplies the weights (DeepSeek-V2: 16, V3: 2.5)
    capacity_factor         room of an expert or device in multiples of its even share; None:
                            nothing is dropped. Only in training mode: in eval mode no router drops,
                            so that a token's experts depend neither on the length of the input nor
                            on what stands beside it.
    capacity_per            "expert": first come, first served. "device": lowest affinity is dropped
                            first
    n_group                 equal blocks of experts, one per device
    never_drop_share        share of the sequences, drawn anew each step, whose tokens are never
                            dropped (capacity_per "device"; DeepSeek-V2 uses about 0.1)

    forward(x (tokens, hidden_size), input_ids=None (tokens,), mask=None (tokens,) bool,
    n_sequences=1) -> Routing
        input_ids    needed by HashRouter alone
        mask         False at padding, which takes no room and no part in assignments
        n_sequences  the tokens are that many sequences, one after the other, equally long

    Raises ValueError or TypeError for options out of range.
    """

    causal = True  # in eval mode a token's experts depend on nothing that comes after it

    def __init__(
        self,
        hidden_size: int,
        n_routed_experts: int,
        num_experts_per_tok: int,
        *,
        routed_scaling_factor: float = 1.0,
        capacity_factor: float | None = None,
        capacity_per: str = "expert",
        n_group: int = 1,
        never_drop_share: float = 0.0,
    ):
        super().__init__()
        require_whole("hidden_size", hidden_size)
        require_whole("n_routed_experts", n_routed_experts)
        require_whole("num_experts_per_tok", num_experts_per_tok)
        require_whole("n_group", n_group)
        require(
            num_experts_per_tok <= n_routed_experts,
            "num_experts_per_tok",
            num_experts_per_tok,
            f"at most n_routed_experts ({n_routed_experts})",
        )
        require(
            n_routed_experts % n_group == 0,
            "n_group",
            n_group,
            f"a divisor of n_routed_experts ({n_routed_experts})",
        )
        require(
            capacity_factor is None or capacity_factor > 0,
            "capacity_factor",
            capacity_factor,
            "None or more than 0",
        )
        require(
            capacity_per in ("expert", "device"),
            "capacity_per",
            capacity_per,
            '"expert" or "device"',
        )
        require(
            capacity_per == "expert" or n_group > 1,
            "n_group",
            n_group,
            '2 or more with capacity_per "device": the number of devices',
        )
        require(
            0 <= never_drop_share <= 1, "never_drop_share", never_drop_share, "a share from 0 to 1"
        )
        require(
            never_drop_share == 0 or capacity_per == "device",
            "never_drop_share",
            never_drop_share,
            '0 with capacity_per "expert"',
        )
        self.n_routed_experts, self.num_experts_per_tok = n_routed_experts, num_experts_per_tok
        self.routed_scaling_factor = routed_scaling_factor
        self.capacity_factor, self.capacity_per = capacity_factor, capacity_per
        self.n_group, self.never_drop_share = n_group, never_drop_share
        self.weight = nn.Parameter(torch.empty(n_routed_experts, hidden_size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # nn.Linear's default

    def forward(
        self,
        x: Tensor,
        input_ids: Tensor | None = None,
        mask: Tensor | None = None,
        n_sequences: int = 1,
    ) -> Routing:
        """x (tokens, hidden_size) -> Routing"""
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self.limit(self.route(self.logits(x), mask), mask, n_sequences)
        return self.limit(self.route(self.logits(x), mask), mask, n_sequences)

    def logits(self, x: Tensor) -> Tensor:
        """x (tokens, hidden_size) -> (tokens, E), in float32 at least: in bfloat16 near-equal
        scores tie and the choice turns arbitrary (Switch, table 2)."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        return F.linear(x.to(dtype), self.weight.to(dtype))

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        """The choice as a function of the logits (tokens, E) alone: -inf keeps an expert from being
        chosen."""
        raise NotImplementedError

    def limit(self, routing: Routing, mask: Tensor | None = None, n_sequences: int = 1) -> Routing:
        """Drop what is beyond the capacity, in training mode only."""
        if self.capacity_factor is None or not self.training:
            return routing
        if self.capacity_per == "expert":
            return limit_experts(routing, self.capacity_factor, mask)
        tokens, device = len(routing.experts), routing.experts.device
        lucky = torch.rand(n_sequences, device=device) < self.never_drop_share
        protected = lucky.repeat_interleave(tokens // n_sequences)
        return limit_devices(routing, self.capacity_factor, self.n_group, mask, protected)

    def routing(
        self,
        experts: Tensor,
        weights: Tensor,
        scores: Tensor,
        logits: Tensor,
        chosen: Tensor | None = None,
    ) -> Routing:
        """The record, before any dropping."""
        kept = torch.ones_like(experts, dtype=torch.bool) if chosen is None else chosen
        return Routing(experts, weights * self.routed_scaling_factor, scores, logits, kept, chosen)

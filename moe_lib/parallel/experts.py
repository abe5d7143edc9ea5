"""Expert parallelism: each rank holds some experts of every layer, and tokens travel to them.

A token goes once to every rank that holds one of its experts, with its weights there; that rank
adds up what its experts give, and one row comes back. So the bytes follow the number of ranks that
a token needs, not the number of experts: limiting it (`router="group_limited"` with one group per
rank) limits them, as in DeepSeek-V2, section 2.2.2. Router and shared experts are on every rank.
"""

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.layer_inputs import check_experts
from moe_lib.model import Experts, LanguageModel, MoELayer, Routing
from moe_lib.model.fast.dispatch import Order, combine, dispatch
from moe_lib.model.fast.ways import choose_way
from moe_lib.modules import bare
from moe_lib.parallel.exchange import exchange, exchange_counts, exchange_with_gradient
from moe_lib.parallel.ranks import here
from moe_lib.validation import checked


class ShardedExperts(Experts):
    """The experts `first` to `first + n - 1` of E, on this rank: gate_up_proj (n, 2I, d) and
    down_proj (n, d, I). Every rank must call it, and its backward pass, equally often."""

    def __init__(self, whole: Experts):
        nn.Module.__init__(self)
        ranks, self.n_experts = here(), len(whole.gate_up_proj)
        n = self.n_experts // ranks.size
        self.first = n * ranks.rank
        for name, weight in whole.named_parameters():
            own = weight.detach()[self.first : self.first + n].clone()
            setattr(self, name, nn.Parameter(own, requires_grad=weight.requires_grad))
        self.train(whole.training)

    @property
    def n_own(self) -> int:
        return len(self.gate_up_proj)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """x (tokens, d), routing of these tokens over all E -> (tokens, d)"""
        gate_up_proj, down_proj = self.gate_up_proj, self.down_proj
        require(routing.n_experts == self.n_experts, "routing", routing.n_experts, "all experts")
        if torch.is_autocast_enabled(x.device.type):  # half the bytes, too
            dtype = torch.get_autocast_dtype(x.device.type)
            x, gate_up_proj, down_proj = x.to(dtype), gate_up_proj.to(dtype), down_proj.to(dtype)
        order, local = travel_plan(routing, self.n_own)
        weights = routing.weights[order.token] * (local >= 0)  # (n, k)
        to, back = order.load.tolist(), exchange_counts(order.load)
        experts = exchange(local, to, back, "dispatch")  # (m, k): -1 where the expert is elsewhere
        rows = dispatch(x, order)  # (n, d), rank by rank
        rows, weights = exchange_with_gradient(
            to, back, "dispatch", rows, weights
        )  # (m, d), (m, k)
        own = _routing_here(experts.long(), weights, self.n_own)
        check_experts(rows, own, gate_up_proj, down_proj)
        results = choose_way(rows, own)(rows, own, gate_up_proj, down_proj)  # (m, d)
        (results,) = exchange_with_gradient(back, to, "combine", results)  # (n, d)
        return combine(results, order)


def travel_plan(routing: Routing, n_own: int) -> tuple[Order, Tensor]:
    """Who goes where, with n_own experts on every rank, in their order.

    order  one row for every token and rank that it goes to, rank by rank; `load` is (ranks,)
    local  (n, k) int32: the number that each chosen expert has on that rank, -1 where it is on
           another one or a capacity limit dropped it
    """
    home = routing.experts // n_own  # (tokens, k)
    ranks = routing.n_experts // n_own
    goes = torch.zeros(len(home), ranks, dtype=torch.bool, device=home.device)
    for column, kept in zip(home.T, routing.kept.T, strict=True):
        goes[torch.arange(len(home), device=home.device)[kept], column[kept]] = True
    rank, token = goes.T.nonzero(as_tuple=True)  # (n,) each, sorted by rank, then by token
    place = token.argsort(stable=True)
    per_token = goes.sum(1)
    start = per_token.cumsum(0) - per_token
    there = (home[token] == rank[:, None]) & routing.kept[token]  # (n, k)
    local = torch.where(there, routing.experts[token] - rank[:, None] * n_own, -1)
    return Order(token, token, place, start, goes.sum(0)), local.to(torch.int32)


def _routing_here(experts: Tensor, weights: Tensor, n_own: int) -> Routing:
    """What has arrived, as a record that the ways to run experts read: (m, k) experts, -1 where
    there is none. Scores and logits took part in the choice, which is made."""
    none = weights.detach().new_zeros(1, 1).expand(len(experts), n_own)
    return Routing(experts.clamp(min=0), weights, none, none, experts >= 0)


@checked
def shard_experts(model: nn.Module) -> nn.Module:
    """Keep this rank's part of the experts of every MoE layer, in place, and forget the others;
    returns the model. Alone, nothing changes.

    From then on every rank has to call the model whenever one does; `train` does so. Expert e is on
    rank e // (E / ranks). `whole_model` brings them back. ValueError for more ranks than experts,
    or ranks that do not divide them.
    """
    ranks, layers = here(), moe_layers(model)
    for layer in layers:
        n, wants = layer.router.n_routed_experts, "ranks"
        require(ranks.size <= n, wants, ranks.size, f"at most one for each of {n} experts")
        require(n % ranks.size == 0, wants, ranks.size, f"a divisor of the number of experts ({n})")
    for layer in layers if ranks.several else ():
        if not isinstance(layer.experts, ShardedExperts):
            layer.experts = ShardedExperts(layer.experts)
    return model


def moe_layers(model: nn.Module) -> list[MoELayer]:
    """The MoE layers of a model, in order; ValueError where there is none."""
    layers = [module for module in bare(model).modules() if isinstance(module, MoELayer)]
    wants = f"a {LanguageModel.__name__} with experts"
    require(bool(layers), "model", type(model).__name__, wants)
    return layers


def own_experts(model: nn.Module) -> set[str]:
    """Names of the parameters of which every rank holds a part of the experts."""
    return {
        f"{name}.{key}" if name else key
        for name, module in model.named_modules()
        if isinstance(module, ShardedExperts)
        for key, _ in module.named_parameters()
    }

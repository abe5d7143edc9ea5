"""Hidden rules: a puzzle that a router can solve, and four kinds of layer that try.

A token is WIDTH random numbers. Two directions are hidden among them; the signs of a token along
both say which of four linear rules turns it into its answer. Nothing tells a model the directions,
the rules or that there are four. Expert e of the layer is one matrix, as a rule is: a layer solves
the puzzle if its router sends every rule's tokens to experts of their own.

A run takes a second, so notebooks train it in front of the reader; nothing is stored.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from moe_lib.errors import require, require_whole
from moe_lib.model import MoELayer, Routing, SwiGLU, TopKRouter
from moe_lib.validation import require_tensor

WIDTH, RULES = 16, 4  # numbers per token; rules
EXPERTS, CHOSEN = 8, 2
STEPS, BATCH = 400, 512
KINDS = ("learned", "frozen", "lot", "dense")
# The best of 0.03, 0.1 and 0.3 for each, on puzzles that no notebook shows; only the first cares.
RATES = {"learned": 0.3, "frozen": 0.03, "lot": 0.03, "dense": 0.1}


class HiddenRules:
    """One puzzle: the hidden plane, the rules, and as many tokens as one asks for.

    plane  (2, 16)      two directions of length 1 at right angles
    rules  (4, 16, 16)  a matrix per rule; answers have variance 1
    """

    def __init__(self, seed: int = 0):
        require_whole("seed", seed, at_least=0)
        draw = torch.Generator().manual_seed(seed)
        self.seed = seed
        self.plane = torch.linalg.qr(torch.randn(WIDTH, 2, generator=draw))[0].T.contiguous()
        self.rules = torch.randn(RULES, WIDTH, WIDTH, generator=draw) / WIDTH**0.5

    def sample(self, n: int, seed: int, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
        """-> tokens x (n, 16), answers y (n, 16), and each token's rule (n,), 0 to 3."""
        require_whole("n", n)
        draw = torch.Generator().manual_seed(1_000_003 * (self.seed + 1) + seed)
        x = torch.randn(n, WIDTH, generator=draw)
        first, second = ((x @ direction > 0).long() for direction in self.plane)
        rule = 2 * first + second
        y = torch.einsum("td,tad->ta", x, self.rules[rule])
        return x.to(device), y.to(device), rule.to(device)

    def on_plane(self, x: Tensor) -> Tensor:
        """x (n, 16) -> where the tokens lie in the hidden plane, (n, 2), for a picture."""
        require_tensor("x", x, ("tokens", WIDTH))
        return x @ self.plane.T.to(x)


class LinearExperts(nn.Module):
    """E experts of one matrix each, in the place of the SwiGLUs of an MoELayer."""

    def __init__(self, n_experts: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_experts, width, width) / width**0.5)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """x (tokens, d), routing of these tokens -> (tokens, d)"""
        every = torch.einsum("td,ead->tea", x, self.weight)  # (tokens, E, d)
        chosen = routing.experts[..., None].expand(-1, -1, x.shape[1])  # (tokens, k, d)
        return (routing.weights[..., None] * every.gather(1, chosen)).sum(1)


class DrawnByLot(TopKRouter):
    """The negative control: two experts by lot for every token, each time anew."""

    def logits(self, x: Tensor) -> Tensor:
        return torch.randn(len(x), self.n_routed_experts, device=x.device)


def make_layer(kind: str, seed: int = 0, k: int = CHOSEN) -> nn.Module:
    """One of KINDS, fresh.

    learned  8 experts, the k best per token, by a router that learns
    frozen   the same, but the router stays as it was drawn
    lot      the same experts, chosen by lot
    dense    a SwiGLU with as many parameters as a token passes in the others, and no router
    """
    require(kind in KINDS, "kind", kind, f"one of {', '.join(KINDS)}")
    torch.manual_seed(seed)
    if kind == "dense":
        active = CHOSEN * WIDTH**2 + EXPERTS * WIDTH
        return SwiGLU(WIDTH, round(active / (3 * WIDTH)))
    make = DrawnByLot if kind == "lot" else TopKRouter
    router = make(WIDTH, EXPERTS, k, norm_topk_prob=True)
    router.weight.requires_grad_(kind == "learned")
    layer = MoELayer(WIDTH, 1, EXPERTS, k, router=router)
    layer.experts = LinearExperts(EXPERTS, WIDTH)
    return layer


def answer(layer: nn.Module, x: Tensor) -> tuple[Tensor, Routing | None]:
    """What a layer of either kind says: its output (n, 16), and its Routing if it has one."""
    output = layer(x)
    return output if isinstance(output, tuple) else (output, None)


@torch.no_grad()
def error(layer: nn.Module, puzzle: HiddenRules, tokens: int = 4096) -> float:
    """Mean squared error on fresh tokens, over the variance of the answers: 1 is what 0 gives for
    every token, 0 is perfect."""
    x, y, _ = puzzle.sample(tokens, 0, _device_of(layer))
    return float((answer(layer, x)[0] - y).square().mean() / y.square().mean())


def purity(rule: Tensor, expert: Tensor) -> float:
    """Share of the tokens that follow the most common rule of their expert; both (tokens,) int64.
    1: every expert has one rule. One expert alone gets the share of the most common rule."""
    require_tensor("rule", rule, ("tokens",), low=0)
    require_tensor("expert", expert, (len(rule),), low=0)
    pairs = torch.zeros(int(expert.max()) + 1, int(rule.max()) + 1, device=rule.device)
    pairs.index_put_((expert, rule), torch.ones((), device=rule.device), accumulate=True)
    return float(pairs.amax(1).sum() / len(rule))


def learn(
    layer: nn.Module,
    puzzle: HiddenRules,
    *,
    steps: int = STEPS,
    learning_rate: float = 0.03,
    watch: Callable[[int, nn.Module], None] | None = None,
    watch_at: Sequence[int] = (),
) -> list[float]:
    """Train a layer in place, on fresh tokens at every step -> the loss of each step over the
    variance of its answers. watch(step, layer) is called after so many steps; 0 is before the
    first."""
    optimiser = torch.optim.Adam(
        [weight for weight in layer.parameters() if weight.requires_grad], learning_rate
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    device, losses = _device_of(layer), []
    for step in range(steps + 1):
        if watch is not None and step in watch_at:
            watch(step, layer)
        if step == steps:
            return losses
        x, y, _ = puzzle.sample(BATCH, step + 1, device)
        loss = (answer(layer, x)[0] - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach() / y.square().mean()))


def _device_of(layer: nn.Module) -> torch.device:
    return next(layer.parameters()).device

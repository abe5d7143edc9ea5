"""What is compared in `moe_layer`: sizes, loads, and for each the ways to compute the same
layer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DeepseekV2Config
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Experts

from moe_lib.model import Experts, Routing, SwiGLU, max_violation, run_loop, run_masked, run_sorted
from moe_lib.model.fast.ways import run_grouped

OURS, DENSE = "ours", "dense"
EAGER, GROUPED = "transformers eager", "transformers grouped_mm"
PEERS = (EAGER, GROUPED)


@dataclass(frozen=True)
class Case:
    """One layer: width d of a token, E experts of width I, k of them per token, and how the tokens
    fall on them.

    skew 0: as an untrained router spreads them. Else expert number r (from 1) is preferred by
    r^-skew.
    """

    d: int
    E: int
    I: int  # noqa: E741  the name it has in every formula of the course
    k: int
    tokens: int
    skew: float = 0.0

    def routing(self, device: str = "cpu") -> Routing:
        """Random affinities, the k largest chosen, weighted by their softmax."""
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(self.tokens, self.E, generator=generator)
        logits = (logits - self.skew * torch.arange(1, self.E + 1).log()).to(device)
        scores = logits.softmax(-1)
        weights, experts = scores.topk(self.k, dim=-1)
        kept = torch.ones_like(experts, dtype=torch.bool)
        return Routing(experts, weights.requires_grad_(), scores, logits, kept)


CASES = [
    Case(128, 8, 128, 2, 2048),
    Case(256, 16, 128, 4, 2048),
    Case(256, 64, 64, 6, 2048),
    Case(512, 16, 256, 4, 4096),
    Case(128, 16, 128, 2, 512),
    Case(256, 64, 64, 6, 64),
    Case(256, 64, 64, 6, 8192),
    Case(256, 256, 32, 8, 64),
    Case(256, 256, 32, 8, 2048),
    Case(256, 16, 128, 4, 2048, skew=1.0),
    Case(256, 64, 64, 6, 2048, skew=1.0),
]
QUICK = [Case(128, 8, 128, 2, 512), Case(128, 32, 32, 4, 256, skew=1.0)]


class Contest:
    """The competitors of one case, on the same weights, input and routing; only dense has weights
    of its own."""

    def __init__(self, case: Case, device: str = "cpu", dtype: torch.dtype = torch.float32):
        torch.manual_seed(0)
        self.case = case
        self.x = torch.randn(case.tokens, case.d, device=device, dtype=dtype, requires_grad=True)
        self.d_output = torch.randn(case.tokens, case.d, device=device, dtype=dtype)
        self.routing = case.routing(device)
        self.experts = Experts(case.E, case.d, case.I).to(device, dtype)
        self.dense = SwiGLU(case.d, case.k * case.I).to(device, dtype)
        self.peers = {EAGER: self._peer("eager"), GROUPED: self._peer("grouped_mm")}

    def _peer(self, implementation: str) -> nn.Module:
        """transformers' experts with our parameters in them."""
        config = DeepseekV2Config(
            hidden_size=self.case.d,
            moe_intermediate_size=self.case.I,
            num_attention_heads=1,
            num_key_value_heads=1,
            n_routed_experts=self.case.E,
            hidden_act="silu",
        )
        config._experts_implementation = implementation
        peer = DeepseekV2Experts(config)
        peer.gate_up_proj, peer.down_proj = self.experts.gate_up_proj, self.experts.down_proj
        return peer

    def forwards(self, ways: bool = False) -> dict[str, Callable[[], Tensor]]:
        """name -> forward pass. With `ways`, also the three plain forms of notebook 04 (the mask up
        to 16 experts), and the layer without the cut into parts."""
        stacked = self.routing, self.experts.gate_up_proj, self.experts.down_proj
        forwards = {
            DENSE: lambda: self.dense(self.x),
            OURS: lambda: self.experts(self.x, self.routing),
        }
        for name, peer in self.peers.items():
            forwards[name] = lambda peer=peer: peer(
                self.x, self.routing.experts, self.routing.weights.to(self.x.dtype)
            )
        if ways:
            if self.case.E <= 16:
                forwards["run_masked"] = lambda: run_masked(self.x, *stacked)
            forwards["run_loop"] = lambda: run_loop(self.x, *stacked)
            forwards["run_sorted"] = lambda: run_sorted(self.x, *stacked)
            forwards["run_grouped"] = lambda: run_grouped(self.x, *stacked)
        return forwards

    def parameters(self) -> list[Tensor]:
        return [self.x, self.routing.weights, *self.experts.parameters(), *self.dense.parameters()]

    def drop_gradients(self) -> None:
        for tensor in self.parameters():
            tensor.grad = None

    def differences(self, names: Iterable[str]) -> dict[str, float]:
        """name -> largest difference of output and all gradients from run_loop, over the largest
        number of each."""
        forwards = self.forwards(ways=True)
        expected = self._results(forwards["run_loop"])
        return {
            name: max(
                float((a - e).abs().max() / e.abs().max())
                for a, e in zip(self._results(forwards[name]), expected, strict=True)
            )
            for name in names
        }

    def _results(self, forward: Callable[[], Tensor]) -> list[Tensor]:
        self.drop_gradients()
        output = forward()
        output.backward(self.d_output)
        return [
            output.detach(),
            self.x.grad,
            self.routing.weights.grad,
            *(p.grad for p in self.experts.parameters()),
        ]

    def arithmetic(self) -> int:
        """Floating-point operations of one forward and backward pass; the same for dense and
        MoE."""
        pairs = self.case.tokens * self.case.k
        return 3 * 2 * pairs * 3 * self.case.d * self.case.I

    def violation(self) -> float:
        """MaxVio of the load: 0 when even, 1 when the fullest expert has twice its share."""
        return max_violation(self.routing.load())

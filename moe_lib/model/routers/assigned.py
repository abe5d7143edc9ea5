"""Balanced by construction: experts choose tokens, tokens are assigned, or a table decides."""

import torch
from torch import Tensor

from moe_lib.errors import require, require_whole
from moe_lib.model.routers.base import Router
from moe_lib.model.routers.capacity import capacity
from moe_lib.model.routing import Routing


class ExpertChoiceRouter(Router):
    """Experts choose their tokens (Zhou et al. 2022): the load is even, the number of experts per
    token is not.

    Each expert takes the T·k/E tokens with the largest softmax score for it (rounded up, at most
    T), where k is the mean number of experts per token, the paper's capacity factor c. A token's
    experts depend on all tokens beside it, later ones too: not for causal language models. It does
    so in eval mode as well.
    """

    causal = False

    def __init__(
        self, hidden_size: int, n_routed_experts: int, num_experts_per_tok: int, **options
    ):
        super().__init__(hidden_size, n_routed_experts, num_experts_per_tok, **options)
        require(
            self.capacity_factor is None,
            "capacity_factor",
            self.capacity_factor,
            "None: in expert choice num_experts_per_tok is the capacity factor",
        )

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        scores = logits.softmax(-1)
        tokens, n_experts = scores.shape
        open_to = (
            (logits > -torch.inf) if mask is None else (logits > -torch.inf) & mask.bool()[:, None]
        )
        real = tokens if mask is None else int(mask.sum())
        room = min(real, capacity(real * self.num_experts_per_tok, n_experts, 1.0))
        wanted = scores.detach().masked_fill(~open_to, -torch.inf)
        picks = wanted.topk(room, dim=0).indices  # (room, E): column e holds the tokens of expert e
        picked = torch.zeros_like(open_to).scatter(0, picks, True) & open_to
        width = max(1, int(picked.sum(1).max())) if tokens else 1
        experts = scores.detach().masked_fill(~picked, -1.0).topk(width, dim=-1).indices
        chosen = picked.gather(1, experts)
        return self.routing(experts, scores.gather(1, experts) * chosen, scores, logits, chosen)


class HashRouter(Router):
    """The expert is looked up by token id (Roller et al. 2021, Hash Layers): nothing is learned,
    nothing to balance.

    A fixed random table, made once from a seed, gives each token id k different experts, each with
    weight 1/k. Ids fall evenly on the experts; tokens do so only as far as no single id is
    frequent.
    """

    def __init__(
        self,
        hidden_size: int,
        n_routed_experts: int,
        num_experts_per_tok: int,
        *,
        vocab_size: int,
        seed: int = 0,
        **options,
    ):
        super().__init__(hidden_size, n_routed_experts, num_experts_per_tok, **options)
        require_whole("vocab_size", vocab_size)
        del self.weight  # no learned router
        generator = torch.Generator().manual_seed(seed)
        # On the CPU also while a checkpoint's model is built without memory: a generator is of one
        # device.
        draws = torch.rand(vocab_size, n_routed_experts, generator=generator, device="cpu")
        table = draws.argsort(-1)[:, :num_experts_per_tok].contiguous()
        self.register_buffer("table", table)  # (vocab_size, k) int64

    def forward(
        self,
        x: Tensor,
        input_ids: Tensor | None = None,
        mask: Tensor | None = None,
        n_sequences: int = 1,
    ) -> Routing:
        require(
            input_ids is not None,
            "input_ids",
            input_ids,
            "the token ids (tokens,): a hash router looks them up",
        )
        experts = self.table[input_ids]
        weights = torch.full(
            experts.shape,
            1 / self.num_experts_per_tok,
            device=x.device,
            dtype=torch.promote_types(x.dtype, torch.float32),
        )
        scores = torch.zeros(
            len(experts), self.n_routed_experts, device=x.device, dtype=weights.dtype
        )
        scores = scores.scatter(1, experts, weights)
        return self.limit(self.routing(experts, weights, scores, scores.log()), mask, n_sequences)


class BASERouter(Router):
    """BASE layers (Lewis et al. 2021): in training the tokens are dealt out evenly, so that all are
    as happy as can be.

    Training solves the linear assignment that maximises the sum of the logits with at most T/E
    tokens (rounded up) per expert. In eval mode each token simply takes its best expert. The weight
    is sigmoid(logit). The assignment needs T³ steps at worst (scipy's `linear_sum_assignment`): for
    hundreds of tokens, not for tens of thousands.
    """

    def __init__(
        self, hidden_size: int, n_routed_experts: int, num_experts_per_tok: int = 1, **options
    ):
        require(
            num_experts_per_tok == 1,
            "num_experts_per_tok",
            num_experts_per_tok,
            "1: BASE assigns one expert",
        )
        super().__init__(hidden_size, n_routed_experts, num_experts_per_tok, **options)
        require(
            self.capacity_factor is None,
            "capacity_factor",
            self.capacity_factor,
            "None: the assignment is even by itself",
        )

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        experts = logits.argmax(-1, keepdim=True)
        if self.training and len(logits):
            real = torch.arange(len(logits)) if mask is None else mask.bool().nonzero()[:, 0].cpu()
            experts[real.to(experts.device)] = self.assign(logits.detach()[real.to(logits.device)])
        scores = logits.sigmoid()
        return self.routing(experts, scores.gather(1, experts), scores, logits)

    def assign(self, logits: Tensor) -> Tensor:
        """logits (tokens, E) -> (tokens, 1) int64, the best assignment with at most ceil(tokens /
        E) per expert."""
        from scipy.optimize import linear_sum_assignment  # here, because it is slow to import

        tokens, n_experts = logits.shape
        places = capacity(tokens, n_experts, 1.0)
        gain = torch.nan_to_num(logits.double(), neginf=-1e9).repeat_interleave(
            places, dim=1
        )  # a column per place
        row, column = linear_sum_assignment(gain.cpu().numpy(), maximize=True)
        experts = torch.empty(tokens, 1, dtype=torch.long)
        experts[row, 0] = torch.from_numpy(column) // places
        return experts.to(logits.device)

"""Balanced by construction: experts choose tokens, tokens are assigned, or a table decides."""

import math

import torch
from torch import Tensor, nn

from moe_lib.errors import require, require_whole
from moe_lib.model.routers.base import Router
from moe_lib.model.routers.capacity import capacity
from moe_lib.model.routing import Routing
from moe_lib.validation import require_tensor


class ExpertChoiceRouter(Router):
    """Experts choose their tokens (Zhou et al. 2022): the load is even, experts per token are not.

    Each expert takes the T·k/E tokens with the largest softmax score for it (rounded up, at most
    T), where k is the mean number of experts per token, the paper's capacity factor c. A token's
    experts depend on all tokens beside it, later ones too: not for causal language models. It does
    so in eval mode as well.
    """

    name, title = "expert_choice", "Expert choice (2022)"
    options = ("routed_scaling_factor", "n_group")
    balanced_by, collapses = (), False
    causal, how_many = False, "on average"

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        scores = logits.softmax(-1)
        tokens, open_to = len(scores), logits > -torch.inf  # (tokens, E)
        if mask is not None:
            open_to = open_to & mask.bool()[:, None]
        room = self._room(tokens if mask is None else int(mask.sum()))
        wanted = scores.detach().masked_fill(~open_to, -torch.inf)
        picks = wanted.topk(room, dim=0).indices  # (room, E): column e holds the tokens of expert e
        picked = torch.zeros_like(open_to).scatter(0, picks, True) & open_to  # (tokens, E)
        width = max(1, int(picked.sum(1).max())) if tokens else 1
        experts = scores.detach().masked_fill(~picked, -1.0).topk(width, dim=-1).indices
        chosen = picked.gather(1, experts)  # (tokens, width)
        return self.routing(experts, scores.gather(1, experts) * chosen, scores, logits, chosen)

    def _room(self, tokens: int) -> int:
        return min(tokens, capacity(tokens * self.num_experts_per_tok, self.n_routed_experts, 1.0))

    def room(self, routing: Routing) -> int:
        return self._room(len(routing.logits))


class HashRouter(Router):
    """The expert is looked up by token id (Roller et al. 2021, Hash Layers): nothing is learned.

    A fixed random table, made once from a seed, gives each token id k different experts, each with
    weight 1/k. Ids fall evenly on the experts; tokens only as far as no single id is frequent.

    Options besides: vocab_size, the number of token ids (required), and seed.
    """

    name, title = "hash", "Hash of the token (2021)"
    learned, balanced_by, collapses = (), (), False
    options = (*Router.options, "vocab_size", "seed")
    vocab_size, seed = None, 0
    by_token_id, sums_to_one = True, True

    def __init__(self, hidden_size: int, n_routed_experts: int, *k: int, **options):
        super().__init__(hidden_size, n_routed_experts, *k, **options)
        require_whole("vocab_size", self.vocab_size)
        require_whole("seed", self.seed, at_least=0)
        require(self.seed < 2**63, "seed", self.seed, "a whole number below 2**63")
        # Drawn and thrown away: what is drawn after a router is the same whether it learns or not.
        if not self.learned:
            nn.init.kaiming_uniform_(torch.empty(n_routed_experts, hidden_size), a=math.sqrt(5))
        # On the CPU also while a model is built without memory: a generator is of one device.
        generator = torch.Generator().manual_seed(self.seed)
        draws = torch.rand(self.vocab_size, n_routed_experts, generator=generator, device="cpu")
        table = draws.argsort(-1)[:, : self.num_experts_per_tok].contiguous()
        self.register_buffer("table", table)  # (vocab_size, k) int64

    def choose(self, x: Tensor, input_ids: Tensor | None, mask: Tensor | None) -> Routing:
        experts = self.look_up(input_ids)  # (tokens, k)
        dtype = torch.promote_types(x.dtype, torch.float32)
        weights = torch.ones(experts.shape, device=x.device, dtype=dtype) / experts.shape[1]
        scores = weights.new_zeros(len(experts), self.n_routed_experts).scatter(1, experts, weights)
        return self.routing(experts, weights, scores, scores.log())

    def look_up(self, input_ids: Tensor | None) -> Tensor:
        """input_ids (tokens,) -> (tokens, k) int64"""
        wants = "the token ids (tokens,): a hash router looks them up"
        require(input_ids is not None, "input_ids", input_ids, wants)
        require_tensor("input_ids", input_ids, low=0, high=self.vocab_size - 1)
        return self.table[input_ids]


class GatedHashRouter(HashRouter):
    """DeepSeek-V4's first MoE layers ("hash_moe"): the table says which experts, a learned row per
    expert how much each counts. There is nothing to balance, and no choice that could collapse."""

    name, title = "gated_hash", "Hash of the token, learned weights (DeepSeek-V4, 2026)"
    learned, sums_to_one = ("weight",), False
    options = (*HashRouter.options, "scoring_func", "norm_topk_prob")
    scoring_func, norm_topk_prob = "sqrtsoftplus", True
    follows_decoding_plan = True

    def choose(self, x: Tensor, input_ids: Tensor | None, mask: Tensor | None) -> Routing:
        return self.gate(self.logits(x), self.look_up(input_ids))

    def gate(self, logits: Tensor, experts: Tensor) -> Routing:
        """logits (tokens, E) of the chosen (tokens, k) -> Routing, the heaviest first"""
        scores = self.affinities(logits)
        heaviest = scores.detach().gather(1, experts).argsort(dim=-1, descending=True, stable=True)
        experts = experts.gather(1, heaviest)
        return self.routing(experts, self.weigh(scores, experts), scores, logits)


class BASERouter(Router):
    """BASE layers (Lewis et al. 2021): in training the tokens are dealt out evenly.

    Training solves the linear assignment that maximises the sum of the logits with at most T/E
    tokens (rounded up) per expert. In eval mode each token simply takes its best expert. The weight
    is sigmoid(logit). The assignment needs T³ steps at worst (scipy's `linear_sum_assignment`): for
    hundreds of tokens, not for tens of thousands.
    """

    name, title = "base", "BASE, even assignment (2021)"
    options = ("routed_scaling_factor", "n_group")
    balanced_by, collapses = (), False
    only_k, assigns = 1, True

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        experts = logits.argmax(-1, keepdim=True)  # (tokens, 1)
        if self.training and len(logits):
            real = torch.arange(len(logits)) if mask is None else mask.bool().nonzero()[:, 0].cpu()
            experts[real.to(experts.device)] = self.assign(logits.detach()[real.to(logits.device)])
        scores = logits.sigmoid()
        return self.routing(experts, scores.gather(1, experts), scores, logits)

    def assign(self, logits: Tensor) -> Tensor:
        """logits (tokens, E) -> (tokens, 1) int64, the best with ceil(tokens / E) per expert."""
        from scipy.optimize import linear_sum_assignment  # here, because it is slow to import

        tokens, places = len(logits), capacity(*logits.shape, 1.0)
        gain = torch.nan_to_num(logits.cpu().double(), neginf=-1e9)
        gain = gain.repeat_interleave(places, dim=1)  # (tokens, E · places): a column per place
        row, column = linear_sum_assignment(gain.numpy(), maximize=True)
        experts = torch.empty(tokens, 1, dtype=torch.long)
        experts[row, 0] = torch.from_numpy(column) // places
        return experts.to(logits.device)

"""What all routers share: facts for the library, a row of weights per expert, logits, capacity."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.model.routers.capacity import capacity, limit_devices, limit_experts
from moe_lib.model.routing import Routing
from moe_lib.model_inputs import check_tokens
from moe_lib.validation import Count, checked
from moe_lib.validation.checking import checked_as_in


class Router(nn.Module):
    """A router gives each token its experts.

    A new one is a subclass in a file of its own and a line in `routers/__init__.py`. Its `route`
    says how logits become choices, its facts below what it is: the rest of the library asks the
    class for them and knows no router by name.

    Router(hidden_size, n_routed_experts (E), num_experts_per_tok (k), **options): the options are
    those fields of ModelConfig that the class names. ValueError or TypeError names one that is out
    of range or not this router's.
    """

    name = ""  # in `ROUTERS`, and so in ModelConfig(router=…)
    title = ""  # for readers, with its year
    variants: dict[str, tuple[str, dict]] = {}  # in the playground besides: name -> title, options
    learned = ("weight",)  # parameters: (E, hidden_size) each, (E,) if called bias
    options = ("routed_scaling_factor", "n_group", "capacity_factor", "capacity_per")
    options += ("never_drop_share",)
    balanced_by = ("aux_loss_alpha", "device_loss_alpha", "communication_loss_alpha")
    balanced_by += ("router_z_loss_alpha",)  # settings of ModelConfig that change its load
    collapses = True  # without help: ModelConfig then balances it by default
    only_k: int | str | None = None  # the one num_experts_per_tok it is made for, or "all"
    fewest_k = 1  # to learn with; 2 with norm_topk_prob
    smallest_group = 1  # experts
    needs_groups = False  # n_group 1 would make it another router
    takes_k_best = False  # the k experts of the best scores, for whatever k
    sums_to_one = False  # a token's weights do; with norm_topk_prob any router's do
    causal = True  # in eval mode a token's experts depend on nothing that comes after it
    by_token_id = False  # experts follow from the token's id: there are no logits to change
    assigns = False  # in training a token's experts depend on the other tokens
    how_many = ""  # experts of a token, where not k in every pass: "at most", "on average"

    # The options, with the values that mean "not in use".
    routed_scaling_factor, n_group, topk_group = 1.0, 1, None
    capacity_factor, capacity_per, never_drop_share = None, "expert", 0.0
    scoring_func, norm_topk_prob = "softmax", False

    @checked
    def __init__(
        self, hidden_size: Count, n_routed_experts: Count, num_experts_per_tok: Count, **options
    ):
        super().__init__()
        self.hidden_size = hidden_size
        self.n_routed_experts, self.num_experts_per_tok = n_routed_experts, num_experts_per_tok
        for name in options:
            wants = f"some of {', '.join(self.options)}"
            require(name in self.options or name in _SOME_TAKE, "options", name, wants, TypeError)
        known = {
            name: options[name] for name in options if name in ModelConfig.__dataclass_fields__
        }
        for name, value in (options | checked_as_in(ModelConfig, known)).items():
            setattr(self, name, value)  # a router that has an option of its own checks it itself
        if self.topk_group is None:
            self.topk_group = self.n_group
        self.check(self)
        for name, shape in self.parameter_shapes(hidden_size, n_routed_experts).items():
            setattr(self, name, nn.Parameter(torch.zeros(shape)))
        if hasattr(self, "weight"):
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # nn.Linear's default

    @classmethod
    def parameter_shapes(cls, hidden_size: int, n_routed_experts: int) -> dict[str, tuple]:
        rows = {name: () if name == "bias" else (hidden_size,) for name in cls.learned}
        return {name: (n_routed_experts, *row) for name, row in rows.items()}

    @classmethod
    def k_range(cls, given) -> tuple[int, int]:
        """Smallest and largest num_experts_per_tok to train with; `given` as for `check`."""
        if cls.only_k is not None:
            only = given.n_routed_experts if cls.only_k == "all" else cls.only_k
            return only, only
        fewest = max(cls.fewest_k, 2 if given.norm_topk_prob else 1)
        return fewest, given.topk_group * given.n_routed_experts // given.n_group

    @classmethod
    def check(cls, given) -> None:
        """Raise ValueError or TypeError, naming the setting, for what this router cannot do. given
        holds the options as attributes: a router in the making, or a ModelConfig."""
        for kept, name, wants in cls.rules(given):
            require(kept, name, getattr(given, name), wants)

    @classmethod
    def rules(cls, given) -> Iterator[tuple[bool, str, str]]:
        """What has to hold between settings: (does it?, the setting to name, what it should be)."""
        experts, k = given.n_routed_experts, given.num_experts_per_tok
        groups, most, which = given.n_group, given.topk_group, f'with router "{cls.name}"'
        by_device, devices = given.capacity_per == "device", "2 or more: the number of devices"
        yield most <= groups, "topk_group", f"at most n_group ({groups})"
        yield experts % groups == 0, "n_group", f"a divisor of n_routed_experts ({experts})"
        yield groups > 1 or not cls.needs_groups, "n_group", f"2 or more {which}"
        yield groups > 1 or not by_device, "n_group", f'{devices} with capacity_per "device"'
        yield by_device or not given.never_drop_share, "never_drop_share", "0 without devices"
        from moe_lib.model.routers import ROUTERS  # here: that file reads this one first

        for name, idle in (_SOME_TAKE | {"topk_group": groups}).items():
            takers = ", ".join(other for other in ROUTERS if name in ROUTERS[other].options)
            fits = name in cls.options or getattr(given, name) == idle
            yield fits, name, f"{idle!r} {which}; others go with {takers}"
        if not experts:  # a dense model
            return
        fewest, largest = cls.k_range(given)
        small, nothing = cls.smallest_group, "so the loss would send the router no gradient at all"
        alone = f"with num_experts_per_tok 1: a weight divided by itself is always 1, {nothing}"
        yield groups == 1 or experts >= small * groups, "n_group", f"groups of {small} or more"
        yield k <= experts, "num_experts_per_tok", f"at most n_routed_experts ({experts})"
        if cls.only_k is not None:
            yield k == fewest, "num_experts_per_tok", f"{fewest} {which}"
        yield k > 1 or not given.norm_topk_prob, "norm_topk_prob", f"False {alone}"
        several = f"{fewest} or more {which}: one weight is always 1"
        yield k >= fewest, "num_experts_per_tok", several
        within = f"at most {largest}, the experts in topk_group ({most}) groups"
        yield k <= largest, "num_experts_per_tok", within

    def forward(self, x: Tensor, input_ids=None, mask=None, n_sequences: int = 1) -> Routing:
        """x (tokens, hidden_size) -> Routing.

        input_ids    (tokens,) int64, for a router by token id
        mask         (tokens,) bool, False at padding: it takes no room and no part in assignments
        n_sequences  the tokens are that many sequences, one after the other, equally long
        """
        check_tokens(x, self, input_ids, mask, n_sequences)
        if torch.is_autocast_enabled(x.device.type):  # asked first: the context costs time
            with torch.autocast(x.device.type, enabled=False):
                return self.forward(x, input_ids, mask, n_sequences)
        return self.limit(self.choose(x, input_ids, mask), mask, n_sequences)

    def choose(self, x: Tensor, input_ids: Tensor | None, mask: Tensor | None) -> Routing:
        """The choice before any dropping; most routers make it from the logits alone."""
        return self.route(self.logits(x), mask)

    def logits(self, x: Tensor) -> Tensor:
        """x (tokens, hidden_size) -> (tokens, E), in float32 at least: in bfloat16 near-equal
        scores tie and the choice turns arbitrary (Switch, table 2)."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        return F.linear(x.to(dtype), self.weight.to(dtype))

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        """The choice, from the logits (tokens, E); -inf keeps an expert from being chosen."""
        wants = "a class with a route of its own, such as those in ROUTERS"
        require(False, "router", type(self).__name__, wants, TypeError)

    def affinities(self, logits: Tensor) -> Tensor:
        """logits -> scores, (tokens, E) each, by scoring_func."""
        if self.scoring_func == "softmax":
            return logits.softmax(-1)
        if self.scoring_func == "sigmoid":
            return logits.sigmoid()
        smallest = torch.finfo(logits.dtype).tiny  # the root of 0 has no gradient
        return F.softplus(logits).clamp(min=smallest).sqrt()  # DeepSeek-V4

    def weigh(self, scores: Tensor, experts: Tensor) -> Tensor:
        """Scores (tokens, E) of the chosen experts (tokens, k), divided by their sum if wanted."""
        weights = scores.gather(1, experts)  # (tokens, k)
        if not self.norm_topk_prob:
            return weights
        return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)

    def routing(self, experts, weights, scores, logits, chosen=None) -> Routing:
        """The record, before any dropping."""
        kept = torch.ones_like(experts, dtype=torch.bool) if chosen is None else chosen
        return Routing(experts, weights * self.routed_scaling_factor, scores, logits, kept, chosen)

    def limit(self, routing: Routing, mask: Tensor | None = None, n_sequences: int = 1) -> Routing:
        """Drop what is beyond the capacity. In training only, as DeepSeek-V2 does: a token's
        experts depend on what stands beside it. (Mesh-TensorFlow limits evaluation too, to 2.)"""
        if self.capacity_factor is None or not self.training:
            return routing
        if self.capacity_per == "expert":
            return limit_experts(routing, self.capacity_factor, mask)
        tokens, device = len(routing.experts), routing.experts.device
        lucky = torch.rand(n_sequences, device=device) < self.never_drop_share
        protected = lucky.repeat_interleave(tokens // n_sequences)  # (tokens,)
        return limit_devices(routing, self.capacity_factor, self.n_group, mask, protected)

    def room(self, routing: Routing) -> int | None:
        """Tokens that one expert (or device) can take of a pass without padding; None: all."""
        if self.training and self.assigns:
            return capacity(*routing.logits.shape, 1.0)
        if self.capacity_factor is None or not self.training:
            return None
        places = self.n_group if self.capacity_per == "device" else self.n_routed_experts
        return capacity(int(routing.choices().sum()), places, self.capacity_factor)

    def update_bias(self, load: Tensor, speed: float) -> None:
        """One step of balancing without a gradient, by the load (E,) of a whole optimiser step."""
        require(False, "router", type(self).__name__, "one with a selection bias", TypeError)


# Options that only some routers take, and what they have to be with the others.
_NAMES = ("scoring_func", "norm_topk_prob", "topk_group", *Router.options[2:])
_SOME_TAKE = {name: getattr(Router, name) for name in _NAMES}

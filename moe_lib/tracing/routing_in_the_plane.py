"""Routers at work in the plane: tokens are points, experts are directions, and every router of the
library can run."""

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import scipy.optimize  # noqa: F401  BASE needs it; loaded here, its first choice does not wait half a second for it
import torch
from torch import Tensor

from moe_lib.errors import is_number, require, require_whole
from moe_lib.model.routers import ROUTERS, Router, make_router
from moe_lib.model.routing import Routing
from moe_lib.validation import require_tensor

LIMIT = 3.0  # coordinates lie between -LIMIT and LIMIT
LARGEST = 1e6  # of a temperature, noise, capacity factor or bias: beyond it float32 says no more
CELLS = 240  # the plane is cut into CELLS × CELLS squares to draw the regions
N_GROUPS, TOPK_GROUPS = (
    3,
    2,
)  # devices of the group-limited router, and how many of them a token may use


@dataclass(frozen=True)
class Method:
    """A router as it is offered in the plane.

    label     for the reader
    router    its name in `moe_lib.model.routers.ROUTERS`
    options   of its class
    """

    label: str
    router: str
    options: dict = field(default_factory=dict)

    @property
    def router_class(self) -> type[Router]:
        return ROUTERS[self.router]

    @property
    def drops(self) -> bool:
        """Does it take a capacity factor?"""
        return "capacity_factor" in self.router_class.options

    def k_range(self, n_experts: int) -> tuple[int, int]:
        """Smallest and largest num_experts_per_tok."""
        options = {name: getattr(self.router_class, name) for name in ("n_group", "norm_topk_prob")}
        options = {**options, "topk_group": options["n_group"], **self.options}
        return self.router_class.k_range(SimpleNamespace(n_routed_experts=n_experts, **options))


def offered_methods() -> dict[str, Method]:
    """Every router, in the order of ROUTERS; after its variants, if its class has any."""
    found = {}
    for name, router in ROUTERS.items():
        for variant, (title, options) in vars(router).get("variants", {}).items():
            found[variant] = Method(title, name, options)
        groups = {"n_group": N_GROUPS, "topk_group": TOPK_GROUPS, "capacity_per": "device"}
        found[name] = Method(router.title, name, groups if router.needs_groups else {})
    return found


METHODS = offered_methods()


@dataclass(frozen=True)
class PlaneSettings:
    """What decides the routing besides points and directions.

    method               a name of METHODS
    num_experts_per_tok  k; a method that knows only some numbers takes the nearest
    temperature          divides the logits: above 1 the weights become more even
    noise                standard deviation of the noise on each logit, for a router that draws it
    capacity_factor      None: nothing is dropped
    training             routers draw noise, drop and assign in training only
    selection_bias       one number per expert, for a router that has it; () for zeros
    seed                 of the noise
    """

    method: str = "topk"
    num_experts_per_tok: int = 2
    temperature: float = 1.0
    noise: float = 1.0
    capacity_factor: float | None = None
    training: bool = True
    selection_bias: tuple[float, ...] = ()
    seed: int = 0

    def __post_init__(self):
        known = isinstance(self.method, str) and self.method in METHODS
        require(known, "method", self.method, f"one of {', '.join(METHODS)}")
        require_whole("num_experts_per_tok", self.num_experts_per_tok)
        require_whole("seed", self.seed, at_least=0)
        require(self.seed < 2**63, "seed", self.seed, "a whole number below 2^63")
        biases = self.selection_bias
        wants = f"a tuple of numbers from -{LARGEST:g} to {LARGEST:g}"
        require(isinstance(biases, list | tuple), "selection_bias", biases, wants, TypeError)
        fits = all(is_number(one) and abs(one) <= LARGEST for one in biases)
        require(fits, "selection_bias", biases, wants)
        require(
            isinstance(self.training, bool), "training", self.training, "True or False", TypeError
        )
        for name, wants, good in (
            ("temperature", f"a number from 0.001 to {LARGEST:g}", lambda v: 1e-3 <= v <= LARGEST),
            ("noise", f"0 to {LARGEST:g}", lambda v: 0 <= v <= LARGEST),
            (
                "capacity_factor",
                f"None or a number above 0, up to {LARGEST:g}",
                lambda v: 0 < v <= LARGEST,
            ),
        ):
            value = getattr(self, name)
            if name != "capacity_factor" or value is not None:
                require(is_number(value), name, value, wants, TypeError)
                require(good(value), name, value, wants)

    def k(self, n_experts: int) -> int:
        """num_experts_per_tok within what the method can do."""
        fewest, most = METHODS[self.method].k_range(n_experts)
        return min(max(self.num_experts_per_tok, fewest), most)


@dataclass(frozen=True)
class PlaneRouting:
    """What one router makes of the points.

    routing     the library's record
    k           experts per token that the router was given
    capacity    room of one place, None if nothing limits it
    per_device  True: a place is a device, a block of E / N_GROUPS experts; False: an expert
    regions     (CELLS, CELLS) int64, the first choice at the middle of every cell, row 0 at the
                top; without noise and capacity. None if a token's experts do not follow from its
                place alone
    sets        (CELLS, CELLS) int64, equal where the same k experts are chosen, in whatever order;
                or None
    why_none    the reason for that, in words
    """

    routing: Routing
    k: int
    capacity: int | None
    per_device: bool
    regions: Tensor | None
    sets: Tensor | None
    why_none: str

    @property
    def even_share(self) -> float:
        """Choices per expert if all had the same."""
        return float(self.routing.choices().sum()) / self.routing.n_experts

    def device_load(self, kept: bool = False) -> Tensor:
        """(N_GROUPS,) int64: choices per device; with `kept`, those that were not dropped."""
        load = self.routing.kept_load() if kept else self.routing.load()
        return load.view(N_GROUPS, -1).sum(1)


@torch.no_grad()
def route_plane(
    points: Tensor, directions: Tensor, settings: PlaneSettings, token_ids: Tensor | None = None
) -> PlaneRouting:
    """Run the library's router on points (tokens, 2) with expert directions (E, 2) as its rows of
    weights.

    token_ids (tokens,) int64 is what a hash router looks up; by default every point has its own.
    Raises ValueError for wrong shapes, or a number of experts that the devices cannot share evenly.
    """
    for name, value in (("points", points), ("directions", directions)):
        require_tensor(name, value, ("n", 2), "floating", finite=True)
    n_experts = len(directions)
    require(
        n_experts >= 2 * N_GROUPS and n_experts % N_GROUPS == 0,
        "directions",
        f"{n_experts} experts",
        f"a multiple of {N_GROUPS}, {2 * N_GROUPS} or more",
    )
    require(
        len(settings.selection_bias) in (0, n_experts),
        "selection_bias",
        settings.selection_bias,
        f"no numbers or {n_experts}, one per expert",
    )
    ids = torch.arange(len(points)) if token_ids is None else token_ids
    why_none = _why_no_regions(settings)
    with _one_thread(), torch.random.fork_rng(devices=[]):
        router = _router(directions, settings, int(ids.max()) + 1 if len(ids) else 1)
        torch.manual_seed(settings.seed)
        routing = router.train(settings.training)(_with_one(points), ids)
        room = router.room(routing)
        regions, sets = (
            (None, None) if why_none else _regions(router.eval()(_with_one(_grid())).experts)
        )
    per_device = router.capacity_per == "device"
    return PlaneRouting(
        routing,
        router.num_experts_per_tok,
        room,
        per_device,
        regions,
        sets,
        why_none,
    )


def _router(directions: Tensor, settings: PlaneSettings, vocab_size: int) -> Router:
    """The library's router, its weight set to the directions. A third coordinate of every token is
    1 and carries the level of the noise, so that it is the same everywhere in the plane."""
    method, n_experts = METHODS[settings.method], len(directions)
    options = dict(method.options)
    if method.router_class.by_token_id:
        options["vocab_size"] = vocab_size
    if method.drops:
        options["capacity_factor"] = settings.capacity_factor
    router = make_router(method.router, 3, n_experts, settings.k(n_experts), **options)
    if hasattr(router, "weight"):
        router.weight.zero_()[:, :2] = directions / settings.temperature
    if hasattr(router, "noise_weight"):
        level = math.log(math.expm1(max(settings.noise, 1e-9)))  # softplus(level) = noise
        router.noise_weight.zero_()[:, 2] = level
    if hasattr(router, "selection_bias") and settings.selection_bias:
        router.selection_bias.copy_(torch.tensor(settings.selection_bias))
    return router


@contextmanager
def _one_thread():
    """For tensors this small, waiting for a second thread on a busy machine takes longer than the
    work (measured)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _why_no_regions(settings: PlaneSettings) -> str:
    router, together = (
        METHODS[settings.method].router_class,
        "so the other points take part in the ",
    )
    if router.by_token_id:
        return "the word decides, wherever its point lies"
    if not router.causal:
        return f"experts choose among all tokens, {together}decision"
    if router.assigns and settings.training:
        return f"the assignment looks at all tokens together, {together}decision"
    return ""


def _regions(experts: Tensor) -> tuple[Tensor, Tensor]:
    """experts (CELLS², k) -> first choices and numbered sets, (CELLS, CELLS) each."""
    _, sets = (2**experts).sum(1).unique(return_inverse=True)  # a bit per chosen expert
    return experts[:, 0].view(CELLS, CELLS), sets.view(CELLS, CELLS)


def _grid() -> Tensor:
    """The middle of every cell, row by row from the top: (CELLS², 2)."""
    middles = (torch.arange(CELLS) + 0.5) / CELLS * 2 * LIMIT - LIMIT
    return torch.stack((middles.repeat(CELLS), -middles.repeat_interleave(CELLS)), dim=1)


def _with_one(points: Tensor) -> Tensor:
    return torch.cat((points.float(), torch.ones(len(points), 1)), dim=1)

"""What an exchange costs: a delay and a bandwidth, fitted to measurements, and what follows from
them for machines that are not here.

The alpha-beta model (Hockney 1994): a message takes alpha seconds, and then its bytes at a rate.
It is a model: `relative_errors` on sizes that took no part in the fit says how good it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moe_lib.counting import flops_per_token
from moe_lib.errors import require
from moe_lib.published import ModelSizes
from moe_lib.validation import Count, Natural, NonNegative, Positive, Share, checked


@checked
@dataclass(frozen=True)
class Link:
    """alpha: seconds before the first byte. bandwidth: bytes per second after it."""

    alpha: NonNegative
    bandwidth: Positive

    @checked
    def seconds(self, n_bytes: NonNegative, messages: NonNegative = 1) -> float:
        """Of that many messages with so many bytes together."""
        return self.alpha * messages + n_bytes / self.bandwidth


@checked
def fit_link(sizes: Sequence[Positive], seconds: Sequence[Positive]) -> Link:
    """The Link whose predictions have the smallest squared relative errors: a microsecond counts
    at 1 KiB, and not at 16 MiB. sizes: bytes of each message. ValueError for fewer than two sizes,
    or times that do not grow with them."""
    _require_pairs(sizes, seconds)
    require(len(set(sizes)) >= 2, "sizes", sizes, "at least two different ones")
    # minimise Σ (alpha · u + slope · v − 1)², with u = 1 / t and v = size / t
    u, v = [1 / t for t in seconds], [size / t for size, t in zip(sizes, seconds, strict=True)]
    uu, uv, vv = _dot(u, u), _dot(u, v), _dot(v, v)
    wide = uu * vv - uv * uv
    require(wide > 1e-12 * uu * vv, "seconds", seconds, "times that grow with the sizes")
    alpha = (sum(u) * vv - sum(v) * uv) / wide
    slope = (sum(v) * uu - sum(u) * uv) / wide
    if alpha < 0:  # the best without a delay
        alpha, slope = 0.0, sum(v) / vv
    require(slope > 0, "seconds", seconds, "times that grow with the sizes")
    return Link(alpha, 1 / slope)


@checked
def relative_errors(
    link: Link, sizes: Sequence[Positive], seconds: Sequence[Positive]
) -> list[float]:
    """predicted / measured - 1, of each size."""
    _require_pairs(sizes, seconds)
    return [link.seconds(size) / t - 1 for size, t in zip(sizes, seconds, strict=True)]


@checked
def expected_devices(
    n_experts: Count, k: Count, devices: Count, limit: Count | None = None
) -> float:
    """Devices that a token's k experts are on, on average, if all choices are equally likely: of
    `devices` with equally many experts, at most `limit` of which a token uses.

    4.46 of 8 for DeepSeek-V2 without its limit, 5.29 for V3.
    """
    require(n_experts % devices == 0, "devices", devices, f"a divisor of {n_experts} experts")
    usable = devices if limit is None else limit
    require(usable <= devices, "limit", limit, f"at most devices ({devices})")
    each = n_experts // devices
    require(k <= usable * each, "k", k, f"at most the {usable * each} experts that are open")
    unused = math.comb((usable - 1) * each, k) / math.comb(usable * each, k)
    return usable * (1 - unused)


@checked
@dataclass(frozen=True)
class Cluster:
    """Devices in equal nodes, and what joins them.

    device_flops      floating-point operations per second of one device, at its peak
    efficiency        share of the peak that the arithmetic of training reaches
    devices_per_node  of one node
    inside, between   links of a device: to the others of its node, to other nodes
    """

    device_flops: Positive
    efficiency: Share
    devices_per_node: Count
    inside: Link
    between: Link


@dataclass(frozen=True)
class StepCost:
    """Seconds of one device for its tokens, forward and backward: arithmetic; what goes to other
    nodes; what goes within a node. one_after_the_other: nothing overlaps. overlapped: everything
    does, so that the slowest decides. bytes_between, bytes_inside: sent by a device."""

    arithmetic: float
    between: float
    inside: float
    bytes_between: float
    bytes_inside: float

    @property
    def one_after_the_other(self) -> float:
        return self.arithmetic + self.between + self.inside

    @property
    def overlapped(self) -> float:
        return max(self.arithmetic, self.between, self.inside)


@checked
def step_cost(
    sizes: ModelSizes,
    cluster: Cluster,
    *,
    tokens: Count,
    expert_devices: Count,
    context: Natural = 2048,
    node_limit: Count | None = None,
    bytes_out: Positive = 2.0,
    bytes_back: Positive = 2.0,
    parts: Count = 1,
) -> StepCost:
    """What `tokens` tokens cost each device in one forward and backward pass, experts spread over
    `expert_devices` devices, whatever the number of all devices: the other ones are copies.

    sizes       of the model, e.g. `published("DeepSeek-V3").sizes`
    context     positions that a token sees on average: half a sequence, if causal
    node_limit  nodes that a token may use; None: all
    bytes_out   bytes of a number on its way to the experts, bytes_back on its way from them
    parts       messages that a layer's tokens are sent in

    A token goes once to every node that it needs, and there once to every device (DeepSeek-V3,
    section 3.2.2). Choices are taken as equally likely and loads as even; the backward pass costs
    twice the arithmetic and the same bytes again. Gradients of copies are not in it, nor is a
    pipeline. It is a floor for what a real run takes.
    """
    require(sizes.n_routed_experts > 0, "sizes", "a dense model", "one with experts")
    layers = sizes.num_hidden_layers - sizes.first_k_dense_replace
    per_node = min(cluster.devices_per_node, expert_devices)
    require(expert_devices % per_node == 0, "expert_devices", expert_devices, "whole nodes")
    nodes = expert_devices // per_node
    experts, k = sizes.n_routed_experts, sizes.num_experts_per_tok
    limit = None if node_limit is None else min(node_limit, nodes)
    used_nodes = expected_devices(experts, k, nodes, limit)
    used = expected_devices(experts, k, expert_devices)
    if limit is not None and limit < nodes:  # the devices of `limit` nodes are open
        used = expected_devices(limit * experts // nodes, k, limit * per_node)
    other_nodes = used_nodes * (nodes - 1) / nodes
    hops = used * (per_node - 1) / per_node  # within the nodes; the device it arrives at is free
    row = sizes.hidden_size * (bytes_out + bytes_back) * 2  # out and back, forward and backward
    volume = tokens * layers * row
    ways = 4 * layers * parts  # exchanges of a step
    return StepCost(
        arithmetic=3
        * tokens
        * flops_per_token(sizes, context)
        / (cluster.device_flops * cluster.efficiency),
        between=cluster.between.seconds(volume * other_nodes, ways * (nodes - 1)),
        inside=cluster.inside.seconds(volume * hops, ways * (per_node - 1)),
        bytes_between=volume * other_nodes,
        bytes_inside=volume * hops,
    )


@checked
def device_hours(cost_of_tokens: Positive, tokens: Count, all_tokens: Positive) -> float:
    """Hours of all devices together for `all_tokens`, if `tokens` cost one device so many
    seconds."""
    return cost_of_tokens / tokens * all_tokens / 3600


def _require_pairs(sizes: Sequence[float], seconds: Sequence[float]) -> None:
    require(
        len(sizes) == len(seconds), "seconds", len(seconds), f"one for each of {len(sizes)} sizes"
    )


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))

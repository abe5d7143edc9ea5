"""Which device holds which experts, when their loads are known: the busiest device sets the pace.

Greedy packing, and copies of the experts that most tokens choose, as DeepSeek's load balancer for
serving makes them (EPLB, 2025): the next copy goes to the expert whose copies have most to do.
"""

import torch
from torch import Tensor

from moe_lib.errors import require, require_divisor
from moe_lib.model.balance import max_violation
from moe_lib.validation import Count, checked, require_tensor


@checked
def in_order(n_experts: Count, devices: Count) -> Tensor:
    """(E,) int64: the device of each expert, the same number of them on every device, in their
    order, as `shard_experts` places them."""
    require_divisor("devices", devices, n_experts, "the number of experts")
    return torch.arange(n_experts) // (n_experts // devices)


@checked
def pack(load: Tensor, devices: Count) -> Tensor:
    """(E,) int64: the device of each expert, with equally many on every device and the loads as
    even as going from the heaviest to the lightest makes them; each goes where there is least.

    load  (E,) times that each expert was chosen
    """
    load = _load(load)
    require_divisor("devices", devices, len(load), "the number of experts")
    room, place = len(load) // devices, torch.empty(len(load), dtype=torch.int64)
    sums, held = [0.0] * devices, [0] * devices
    for expert in load.argsort(descending=True, stable=True).tolist():
        open_ = [device for device in range(devices) if held[device] < room]
        device = min(open_, key=sums.__getitem__)
        place[expert] = device
        sums[device] += float(load[expert])
        held[device] += 1
    return place


@checked
def replicate(load: Tensor, copies: Count) -> Tensor:
    """(copies,) int64: the expert that each copy is of, every expert at least once, further copies
    to whose copies have most to do; a token takes any copy, so that they share a load evenly.

    load    (E,) times that each expert was chosen
    copies  of all experts together, at least E
    """
    load = _load(load)
    require(copies >= len(load), "copies", copies, f"at least one of each of {len(load)} experts")
    count = torch.ones_like(load)
    of = list(range(len(load)))
    for _ in range(copies - len(load)):
        busiest = int((load / count).argmax())
        of.append(busiest)
        count[busiest] += 1
    return torch.tensor(of)


@checked
def device_loads(load: Tensor, place: Tensor, of: Tensor | None = None) -> Tensor:
    """(devices,) float64: what each device has to do.

    load   (E,) times that each expert was chosen
    place  (E,) the device of each expert, or (copies,) of each copy
    of     (copies,) the expert that each copy is of; None: one copy each, in order
    """
    load = _load(load)
    of = torch.arange(len(load)) if of is None else of
    require_tensor("of", of, ("copies",), torch.int64, low=0, high=len(load) - 1)
    require_tensor("place", place, of.shape, torch.int64, low=0)
    count = torch.bincount(of, minlength=len(load))
    require(int(count.min()) > 0, "of", of.tolist(), f"every one of {len(load)} experts")
    of, place = of.cpu(), place.cpu()
    each = load[of] / count.cpu()[of]
    return torch.zeros(int(place.max()) + 1, dtype=torch.float64).index_add(0, place, each)


@checked
def balanced_copies(load: Tensor, copies: Count, devices: Count) -> tuple[Tensor, Tensor]:
    """`replicate`, then `pack`: (place, of), each (copies,) int64."""
    of = replicate(load, copies)
    each = _load(load)[of] / torch.bincount(of)[of]
    return pack(each, devices), of


@checked
def busiest_over_mean(loads: Tensor) -> float:
    """Largest load of a device over the mean, from 1: by so much longer a step takes than evenly
    loaded ones would. loads (devices,)"""
    return 1 + max_violation(loads)


@checked
def devices_of_tokens(experts: Tensor, place: Tensor) -> Tensor:
    """(tokens, devices) bool: True where a token goes to. experts (tokens, k) int64, its choices;
    place (E,) the device of each expert."""
    require_tensor("place", place, ("experts",), torch.int64, low=0)
    high = len(place) - 1
    require_tensor("experts", experts, ("tokens", "k"), torch.int64, low=0, high=high)
    home = place.to(experts.device)[experts]  # (tokens, k)
    goes = torch.zeros(len(home), int(place.max()) + 1, dtype=torch.bool, device=home.device)
    return goes.scatter(1, home, True)


def _load(load: Tensor) -> Tensor:
    """On the CPU, in float64."""
    require_tensor("load", load, ("experts",), low=0, finite=True)
    require(load.numel() > 0, "load", tuple(load.shape), "a count for every expert")
    return load.cpu().double()

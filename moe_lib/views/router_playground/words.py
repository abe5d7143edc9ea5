"""What the router playground shows, in plain sentences."""

from moe_lib.model.routing import NoisyRouting
from moe_lib.tracing.routing_in_the_plane import METHODS, N_GROUPS, PlaneRouting, PlaneSettings
from moe_lib.views.kit.wording import apart, count


def plane_words(
    result: PlaneRouting, settings: PlaneSettings, labels: list[str], selected: int
) -> str:
    """Router, load, drops, and the weights of one token."""
    routing = result.routing
    mode = "training" if settings.training else "evaluation"
    load = routing.load().tolist()
    pairs = sum(load)
    busiest = max(range(len(load)), key=load.__getitem__)
    method = METHODS[settings.method]
    how_many = "" if routing.chosen is None else f"{method.router_class.how_many} "
    parts = [
        f"{method.label}, in {mode} mode: {count(len(labels), 'token')}, "
        f"{count(len(load), 'expert')}, {how_many}{result.k} per token.",
        f"The largest load is {load[busiest]} of {pairs} (expert {busiest}); an even share "
        f"is {result.even_share:.1f}.",
    ]
    idle = [str(expert) for expert, number in enumerate(load) if not number]
    if idle:
        parts.append(f"No token chooses expert {', '.join(idle)}.")
    parts += [*_capacity_words(result, settings), token_words(result, labels, selected)]
    return " ".join(parts)


def _capacity_words(result: PlaneRouting, settings: PlaneSettings) -> list[str]:
    routing, found = result.routing, []
    if result.capacity is not None:
        place = (
            f"device ({routing.n_experts // N_GROUPS} experts)" if result.per_device else "expert"
        )
        found.append(f"Each {place} has room for {result.capacity}.")
    dropped = routing.choices() & ~routing.kept
    if dropped.any():
        lost = int((~routing.kept).all(1).sum())
        alone = f"; {count(lost, 'token')} left without any expert" if lost else ""
        found.append(f"{count(int(dropped.sum()), 'choice')} dropped{alone}.")
    elif result.capacity is not None and METHODS[settings.method].drops:
        found.append("Nothing is dropped.")
    elif settings.capacity_factor and METHODS[settings.method].drops:
        found.append("Nothing is dropped in evaluation mode.")
    unchosen = int((~routing.choices()).all(1).sum())
    if unchosen:
        found.append(f"{count(unchosen, 'token')} not chosen by any expert.")
    return found


def token_words(result: PlaneRouting, labels: list[str], token: int) -> str:
    """Which experts one token is sent to, with what weight."""
    routing = result.routing
    rows = zip(
        *(
            part[token].tolist()
            for part in (routing.experts, routing.weights, routing.kept, routing.choices())
        ),
        strict=True,
    )
    found = [
        f"expert {expert} with weight {weight:.2f}{'' if kept else ' (dropped)'}"
        for expert, weight, kept, chosen in rows
        if chosen
    ]
    return f"Token {token}, “{apart(labels[token])}”: {', '.join(found) if found else 'no expert'}."


def region_words(result: PlaneRouting, settings: PlaneSettings) -> str:
    """What the coloured ground means, or why there is none."""
    if result.why_none:
        return f"No regions are drawn: {result.why_none}."
    left_out = []
    if settings.training and isinstance(result.routing, NoisyRouting) and settings.noise:
        left_out.append("noise")
    if settings.training and result.capacity is not None:
        left_out.append("capacity")
    without = f", without {' and '.join(left_out)}" if left_out else ""
    lines = (
        " Lines part places with other sets of experts."
        if 1 < result.k < result.routing.n_experts
        else ""
    )
    return f"Ground: the first choice of a token at that place{without}.{lines}"

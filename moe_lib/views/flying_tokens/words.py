"""What the flying tokens show, in words."""

from moe_lib.views.flying_tokens.flights import Plan
from moe_lib.views.kit.wording import apart, count
from moe_lib.views.parameter_explorer.account import size_words


def summary_of(plan: Plan, at: int, label: str, row_bytes: int) -> str:
    """The token that flew last, and what has happened so far. at: tokens that have flown."""
    experts = len({expert for held in plan.held for expert in held})
    several = ", some of them on several" if sum(map(len, plan.held)) > experts else ""
    tokens = count(len(plan.flights), "token")
    said = [f"{count(experts, 'expert')} on {plan.devices} devices{several}, {tokens}."]
    if not at:
        return f"{said[0]} None has flown yet."
    flight = plan.flights[at - 1]
    chosen = ", ".join(f"{expert} on device {device}" for expert, device in flight.choices)
    way = f"it flies to {_listed(flight.to)}" if flight.to else "it stays at home"
    said.append(
        f"Token {at}, “{apart(label)}”, lives on device {flight.home}; its experts: {chosen}: "
        f"{way}."
    )
    rows, work = plan.rows(at), plan.work(at)
    all_rows = int(rows.sum())
    said.append(
        f"So far {count(all_rows, 'row')} left their device, {all_rows / at:.2f} a token: "
        f"{size_words(all_rows * row_bytes)} there, as much back."
    )
    if all_rows:
        most = int(rows.argmax())
        source, target = most // plan.devices, most % plan.devices
        said.append(
            f"The busiest link, from {source} to {target}, carried {int(rows.max())} of them."
        )
    busiest = int(work.argmax())
    said.append(
        f"Device {busiest} has computed most, {count(int(work.max()), 'pair')} of token and "
        f"expert, {float(work.max() / work.double().mean()):.2f} times the mean."
    )
    return " ".join(said)


def _listed(devices: tuple[int, ...]) -> str:
    numbers = ", ".join(map(str, devices))
    return f"device {numbers}" if len(devices) == 1 else f"devices {numbers}"

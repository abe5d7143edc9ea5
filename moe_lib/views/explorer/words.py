"""Readings in plain sentences: the words beside every picture."""

from math import isfinite

import torch

from moe_lib.model import max_violation
from moe_lib.tracing import Change, Comparison, Reading
from moe_lib.tracing.trace import LayerTrace
from moe_lib.views.explorer.layer_facts import choices_of, groups_of
from moe_lib.views.kit.wording import apart, count, ordinal

NO_TEXT = "There is no text yet. Type some to see which experts read it."


def layer_words(reading: Reading, layer: LayerTrace, rank: int) -> str:
    """What the strip and the load bars show for one layer and one rank (1 is the first choice)."""
    counts = reading.trace.load(layer.index)
    load = counts.tolist()
    choices, k = sum(load), layer.experts.shape[-1]
    column = layer.experts[0, :, rank - 1]
    chosen = (
        torch.ones_like(column, dtype=torch.bool)
        if layer.chosen is None
        else layer.chosen[0, :, rank - 1]
    )
    used, tokens = column[chosen].unique().numel(), int(chosen.sum())
    busiest = max(range(layer.n_experts), key=load.__getitem__)
    idle = load.count(0)
    parts = [
        f"Layer {layer.index}, {ordinal(rank)} choice: {count(tokens, 'token')} "
        f"{'goes' if tokens == 1 else 'go'} to {used} of {layer.n_experts} experts.",
        f"{f'Over all {k} choices per token, expert' if k > 1 else 'Expert'} {busiest} has "
        "the largest load, "
        f"{load[busiest]} of {choices}; an even split would give each "
        f"{choices / layer.n_experts:.1f} "
        f"(MaxVio {max_violation(counts):.2f}).",
    ]
    if idle:
        parts.append(
            f"{count(idle, 'expert')} {'is' if idle == 1 else 'are'} not chosen by any token."
        )
    return " ".join([*parts, *beside_words(layer)])


def beside_words(layer: LayerTrace) -> list[str]:
    """What a layer has besides routed experts that a token chooses freely: shared experts,
    groups."""
    said = []
    if layer.shared:
        shared = "the shared expert" if layer.n_shared < 2 else f"{layer.n_shared} shared experts"
        said.append(f"Besides these, every token passes {shared}.")
    if layer.n_group > 1:
        said.append(
            f"The experts lie in {layer.n_group} groups of {layer.n_experts // layer.n_group}; "
            f"a token may use at most {count(layer.topk_group, 'group')}."
        )
    return said


def token_words(reading: Reading, layer: LayerTrace, token: int) -> str:
    """Which experts one token is sent to, with what weight."""
    chosen = ", ".join(
        f"expert {expert}{_weighed(weight)}" if kept else f"expert {expert}, which was full"
        for expert, weight, kept in choices_of(layer, token)
    )
    words = f"Token {token}, “{apart(reading.labels[token])}”, is sent to {chosen or 'no expert'}."
    groups = groups_of(layer, token)
    if groups:
        words += (
            f" They lie in group{'s' if len(groups) > 1 else ''} {' and '.join(map(str, groups))}."
        )
    return words


def _weighed(weight: float | None) -> str:
    return "" if weight is None else f" with weight {weight:.2f}"


def expert_words(reading: Reading, layer: LayerTrace, expert: int) -> str:
    """How much one expert has to do."""
    chosen = reading.trace.load(layer.index)[expert].item()
    share = int(layer.choices(reading.trace.real).sum()) / layer.n_experts
    return (
        f"Expert {expert} of layer {layer.index} is chosen by {chosen} of "
        f"{count(len(reading), 'token')}; "
        f"an even split would be {share:.1f}."
    )


def what_if_words(before: Reading, after: Reading, changes: list[Change]) -> str:
    """What another number of experts per token, and switching experts off, did to the
    predictions."""
    made = sum(prediction is not None for prediction in (*after.predictions, after.next))
    words = f"{what_if_title(before, after)}. {len(changes)} of {count(made, 'prediction')} "
    words += "changes." if len(changes) == 1 else "change."
    old, new = before.mean_log_probability, after.mean_log_probability
    if old is None or not (isfinite(old) and isfinite(new)):
        return words
    sign = "+" if new >= old else "−"
    return (
        f"{words} The mean log-probability of the text's tokens goes from {_minus(old)} to "
        f"{_minus(new)} nats "
        f"({sign}{abs(new - old):.3f})."
    )


def what_if_title(before: Reading, after: Reading) -> str:
    """ "2 experts per token instead of 1; switched off: layer 1: 3, 5"; "" if nothing is
    changed."""
    said = []
    if after.k is not None:
        old = sorted({layer.experts.shape[-1] for layer in before.trace.layers})
        said.append(f"{count(after.k, 'expert')} per token instead of {' or '.join(map(str, old))}")
    if after.off:
        named = "; ".join(
            f"layer {layer}: {', '.join(map(str, experts))}" for layer, experts in after.off.items()
        )
        said.append(f"switched off: {named}" if said else f"Switched off: {named}")
    return "; ".join(said)


def comparison_words(
    comparison: Comparison, index: int, names: tuple[str, str], two_models: bool
) -> str:
    """How alike two readings use the experts of one layer, beside what chance alone would give."""
    one, other = map(apart, names)
    if index in comparison.missing:
        return (
            f"Layer {index} cannot be compared: “{other}” has no layer {index} with as many "
            "experts."
        )
    layer = comparison.layer(index)
    parts = [
        f"“{one}” against “{other}”, layer {index}: the loads have a total variation distance of "
        f"{layer.total_variation:.2f} (0: equal, 1: no expert in common). Tokens dealt out "
        "at random give "
        f"{layer.shuffled_variation:.2f}; {_rarely(layer.p_value)}."
    ]
    if layer.overlap is not None:
        parts.append(
            f"Of a token's experts, {_percent(layer.overlap)} have the same number in both; "
            "tokens paired at "
            f"random give {_percent(layer.chance_overlap)}."
        )
        if two_models:
            found, chance = _percent(layer.renumbered_overlap), _percent(layer.renumbered_chance)
            parts.append(
                "Models trained apart number their experts differently: after the best "
                "renumbering it is "
                f"{found}, at random {chance}."
            )
    return " ".join(parts)


def _rarely(p_value: float) -> str:
    return (
        f"{_percent(p_value)} of such shuffles differ as much"
        if p_value >= 0.01
        else "under 1 % differ as much"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def cut_words(reading: Reading) -> str:
    """Says so if the text was too long; else an empty string."""
    if not reading.n_cut:
        return ""
    total = len(reading) + reading.n_cut
    return f"The text has {total} tokens; only the first {len(reading)} are read."


def not_finite_words(reading: Reading) -> str:
    """Says so where the model gives NaN or infinity; else an empty string."""
    guesses = [one for one in (*reading.predictions, reading.next) if one is not None]
    lost = sum(not all(map(isfinite, one.probabilities)) for one in guesses)
    layers = [
        str(layer.index)
        for layer in reading.trace.layers
        if not all(part is None or part.isfinite().all() for part in (layer.weights, layer.scores))
    ]
    said = []
    if lost:
        said.append(
            f"The model gives no numbers (NaN or infinity) for {lost} of "
            f"{count(len(guesses), 'prediction')}: these are left out."
        )
    if layers:
        said.append(
            f"Affinities or weights of layer {', '.join(layers)} are no numbers (NaN or infinity): "
            "they are drawn as 0."
        )
    return " ".join(said)


def _minus(number: float) -> str:
    return f"{number:.3f}".replace("-", "−")

"""What a race shows, in words."""

from collections.abc import Sequence

from moe_lib.views.kit.finite import LOST, finite
from moe_lib.views.kit.wording import count, percent
from moe_lib.views.phone_book.recall import Recall

NOTHING = "Nothing has been trained yet."


def plan_words(facts: int, experts: int, chosen: int, active: int) -> str:
    """The race that is set up. active: hidden units that a token goes through in both models."""
    return (
        f"{facts:,} facts. One model is dense, {active} hidden units wide; the other stores "
        f"{count(experts, 'expert')} of width {active // chosen}, of which a token uses {chosen}: "
        f"{active} hidden units, equal work."
    )


def side_words(side: Recall) -> str:
    """One model: how much it recalls."""
    known = sum(map(bool, side.known))
    bits = finite(side.bits_per_parameter)
    held = LOST if bits is None else f"{bits:.2f} bits"
    return (
        f"{side.name}: {percent(side.share)} recalled, {known:,} of {len(side.known):,} facts; "
        f"{held} per parameter, {side.parameters:,} parameters, {side.active:,} of them at work "
        "for a token"
    )


def race_words(sides: Sequence[Recall]) -> str:
    """All models, after how many steps."""
    if not sides:
        return NOTHING
    step = f"After step {sides[0].step} of {sides[0].steps}: "
    return step + ". ".join(map(side_words, sides)) + "."

"""The colours of all widgets and pictures, and one per expert that colour-blind readers can tell
apart, always beside the expert's number.

A widget's Python says BLUE, its stylesheet var(--moe-blue), named by `variables`.
Eight hues after Okabe and Ito (2008, "Color Universal Design"), the black replaced by a grey.
Experts 8 to 15 take the same hues lighter, 16 to 23 darker, 24 to 31 lighter still; each set has
its own edge. From expert 32 on the edge stands on top, and from 64 on colours repeat: the number
alone is never ambiguous.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from moe_lib.validation import Block, Natural, checked

HUES = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")
ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE, GREY = HUES
DARK_INK, SOFT_INK, MID_GREY, FAINT, RULE = "#222222", "#595959", "#7f7f7f", "#bbbbbb", "#dddddd"
_HUE_NAMES = ("orange", "sky", "green", "yellow", "blue", "vermilion", "purple", "grey")
_NAMED = dict(zip(_HUE_NAMES, HUES, strict=True))
_NAMED |= {"dark-ink": DARK_INK, "soft-ink": SOFT_INK, "mid-grey": MID_GREY}
_NAMED |= {"faint": FAINT, "rule": RULE}
_EDGES = ("none", "solid", "dashed", "double")
Colour = Annotated[
    str, Block('a colour "#rrggbb"', str.strip, re.compile("#[0-9a-f]{6}", re.I).fullmatch)
]
_BLACK, _WHITE = "#000000", "#ffffff"


@dataclass(frozen=True)
class ExpertColour:
    """fill, text: "#rrggbb"; edge: the CSS line style that tells apart experts of one hue;
    edge_side: where it is."""

    fill: str
    text: str
    edge: str
    edge_side: str


def variables() -> str:
    """The named colours as variables of a stylesheet, BLUE as --moe-blue."""
    return ":root { " + " ".join(f"--moe-{name}: {is_};" for name, is_ in _NAMED.items()) + " }"


@checked
def expert_colour(expert: Natural) -> ExpertColour:
    """The colour of expert number `expert`, the same in every layer."""
    tier = expert // len(HUES) % 8
    towards, amount = ((_BLACK, 0.0), (_WHITE, 0.55), (_BLACK, 0.45), (_WHITE, 0.78))[tier % 4]
    fill = mix(HUES[expert % len(HUES)], towards, amount)
    text = max((_BLACK, _WHITE), key=lambda ink: contrast(ink, fill))
    return ExpertColour(fill, text, _EDGES[tier % 4], "top" if tier >= 4 else "bottom")


@checked
def contrast(one: Colour, other: Colour) -> float:
    """Contrast ratio of two colours "#rrggbb", 1 to 21 (WCAG 2.2, "contrast ratio")."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [value / 255 for value in _rgb(colour)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def mix(colour: str, towards: str, amount: float) -> str:
    """`colour` with the share `amount`, 0 to 1, of `towards` in it; all of them "#rrggbb"."""
    parts = zip(_rgb(colour), _rgb(towards), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * amount):02x}" for a, b in parts)


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))

"""What all still pictures share: a reader's words are drawn as they stand, in whatever script.

matplotlib would set "$x$" as mathematics, leave names that begin with "_" out of a legend, and draw
a box for a character that its own font lacks. Here a font of the machine that has the character
steps in; without one its code is written out, and the picture says so once.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache, wraps

from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

from moe_lib.views.kit.palette import SOFT_INK

WIDTH = 10.0  # inches
MONO = "DejaVu Sans Mono"

_OWN = (MONO, "DejaVu Sans")  # matplotlib brings both
_DROPPED = re.compile("[\u2060\u2066-\u2069]")  # word joiner and isolates: they draw nothing
_ESCAPED = re.compile(r"\[U\+[0-9A-F]{4,6}\]")
_JOINER = "\u2060"
_NOTE = "[U+…]: the code of a character that cannot be drawn here"


def drawable(text: str) -> str:
    """`text` with the code, "[U+0E2A]", for every character that cannot be drawn: one that no font
    of the machine has, or one that would turn the text around it."""
    return "".join(_drawn(character) for character in _DROPPED.sub("", text))


def columns(text: str) -> int:
    """Width in columns of a font of equal widths; Chinese, Japanese and Korean take two each."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def shortened(text: str, most: int = 30) -> str:
    """`text` as it can be drawn in at most so many columns, with an ellipsis where it is cut."""
    text = drawable(text)
    if columns(text) <= most:
        return text
    pieces = re.findall(rf"{_ESCAPED.pattern}|.", text, re.DOTALL)  # an escape is cut as a whole
    while pieces and columns("".join(pieces)) > most - 1:
        pieces.pop()
    return "".join(pieces) + "…"


def named(label: str) -> str:
    """A name as the label of an artist: matplotlib leaves those out that begin with "_"."""
    return _JOINER + label if label.startswith("_") else label


def plain_words(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator of what makes a figure: all words in it are drawn as they stand."""

    @wraps(draw)
    def drawn(*arguments, **options) -> Figure:
        figure = draw(*arguments, **options)
        keep_words(figure)
        if any(_ESCAPED.search(text.get_text()) for text in figure.findobj(Text)):
            style = {"ha": "right", "va": "bottom", "fontsize": 6.5, "color": SOFT_INK}
            figure.text(0.995, 0.002, _NOTE, **style)
        return figure

    return drawn


def keep_words(artist: Artist) -> None:
    """No mathematics, a font for each character, and codes where there is none, in all texts of
    `artist`. Labels of ticks that matplotlib itself writes (powers of ten) stay as they are."""
    its_own = set()
    for axis in artist.findobj(Axis):
        if isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):
            _keep_tick_labels(axis)
            ticks = axis.minorTicks
        else:
            ticks = [*axis.majorTicks, *axis.minorTicks]
        its_own |= {label for tick in ticks for label in (tick.label1, tick.label2)}
    for text in artist.findobj(Text):
        if text not in its_own:
            text.set_parse_math(False)
            text.set_text(drawable(text.get_text()))
            more = dict.fromkeys(map(_family_of, text.get_text())) - dict.fromkeys(_OWN).keys()
            families = [*text.get_fontfamily(), *_OWN, *more]
            text.set_fontfamily(list(dict.fromkeys(families)))


def _keep_tick_labels(axis: Axis) -> None:
    """Codes in labels that are given; they are written anew at each drawing."""
    labels = [label.get_text() for label in axis.get_ticklabels()]
    if any(drawable(label) != label for label in labels):
        axis.set_ticks(axis.get_ticklocs(), [drawable(label) for label in labels])


@lru_cache(maxsize=10_000)
def _drawn(character: str) -> str:
    if character in "\n\t":
        return character
    turns = unicodedata.category(character) in ("Cc", "Cf", "Cs")
    return f"[U+{ord(character):04X}]" if turns or _family_of(character) is None else character


@lru_cache(maxsize=10_000)
def _family_of(character: str) -> str | None:
    """A font that has the character, matplotlib's own before the machine's; None without one."""
    if character in "\n\t":
        return MONO
    for family, path in _fonts():
        font = _opened(path)
        if font is not None and font.get_char_index(ord(character)):
            return family
    return None


@lru_cache(maxsize=1)
def _fonts() -> list[tuple[str, str]]:
    """(family, file) of upright fonts, matplotlib's own first, then those without serifs."""
    own = [(family, font_manager.findfont(family)) for family in _OWN]
    others = {
        font.name: font.fname
        for font in font_manager.fontManager.ttflist
        if font.style == "normal" and font.weight in (400, "normal", "regular", "book")
        if "last resort" not in font.name.lower() and "lastresort" not in font.name.lower()
    }
    order = sorted(others, key=lambda name: ("Sans" not in name, "Mono" in name, name))
    return [*own, *((name, others[name]) for name in order)]


@lru_cache(maxsize=256)
def _opened(path: str) -> FT2Font | None:
    try:
        return font_manager.get_font(path)
    except (OSError, RuntimeError):  # a font of bitmaps, or a damaged one
        return None

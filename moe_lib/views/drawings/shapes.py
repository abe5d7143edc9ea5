"""What a drawing is made of: boxes, lines and labels, each with a place in pixels, y downwards.

A hue is a number of the house's palette (`moe_lib.views.kit.palette.HUES`), or None for plain ink.
Colours are mixed with the ground and the ink of the page, so no shape holds one.
"""

from dataclasses import dataclass
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

SMALLEST = 12  # pixels; smaller letters cannot be read where a drawing is scaled down
LINE = 1.25  # height of a line of text, in sizes
HEAD = 9  # length of an arrow's head, in pixels

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle with text in its middle, a line of it per "\\n". `circle`: an ellipse instead.

    edge   "solid", "dashed" or "none"
    mono   letters of equal widths, for tokens and code
    """

    x: float
    y: float
    width: float
    height: float
    text: str = ""
    hue: int | None = None
    edge: str = "solid"
    size: float = 14
    bold: bool = False
    mono: bool = False
    circle: bool = False
    hatched: bool = False

    @property
    def middle(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def left(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> Point:
        return self.x + self.width, self.y + self.height / 2

    @property
    def top(self) -> Point:
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> Point:
        return self.x + self.width / 2, self.y + self.height


@dataclass(frozen=True)
class Line:
    """Straight pieces from point to point; with `arrow`, a head at the end.

    stroke   width in pixels
    """

    points: tuple[Point, ...]
    hue: int | None = None
    arrow: bool = False
    dashed: bool = False
    stroke: float = 1.6

    def head(self) -> tuple[Point, Point, Point]:
        """The corners of the arrow's head, the tip first."""
        (x0, y0), (x1, y1) = self.points[-2:]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        back, wide = HEAD + self.stroke, 0.45 * (HEAD + self.stroke)
        foot = x1 - back * dx, y1 - back * dy
        return (
            (x1, y1),
            (foot[0] - wide * dy, foot[1] + wide * dx),
            (foot[0] + wide * dy, foot[1] - wide * dx),
        )

    def shaft(self) -> tuple[Point, ...]:
        """The points of the line itself: it ends inside the head, not at its tip."""
        if not self.arrow:
            return self.points
        tip, one, other = self.head()
        return (*self.points[:-1], ((one[0] + other[0]) / 2, (one[1] + other[1]) / 2))


@dataclass(frozen=True)
class Label:
    """Text at a point, a line of it per "\\n"; y is the middle of the first line.

    anchor   which end of the text stands at x: "start", "middle" or "end"
    """

    x: float
    y: float
    text: str
    anchor: str = "middle"
    hue: int | None = None
    size: float = 14
    bold: bool = False
    mono: bool = False
    muted: bool = False

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels, on the safe side."""
        width, height = text_size(self.text, self.size, self.bold, self.mono)
        left = self.x - {"start": 0, "middle": 0.5, "end": 1}[self.anchor] * width
        top = self.y - self.size * LINE / 2
        return left, top, left + width, top + height


Shape = Box | Line | Label


def text_size(text: str, size: float, bold: bool = False, mono: bool = False) -> Point:
    """Width and height of a text in pixels, measured in DejaVu, a wide font: with another one a
    text takes less."""
    lines = text.split("\n")
    widest = max(sum(_advance(letter, bold, mono) for letter in line) for line in lines)
    return widest * size, len(lines) * size * LINE


@lru_cache(maxsize=4)
def _font(bold: bool, mono: bool) -> FT2Font:
    name = "DejaVu Sans Mono" if mono else "DejaVu Sans"
    weight = "bold" if bold else "normal"
    path = font_manager.findfont(font_manager.FontProperties(family=name, weight=weight))
    font = FT2Font(path)
    font.set_size(100, 72)
    return font


@lru_cache(maxsize=4096)
def _advance(letter: str, bold: bool, mono: bool) -> float:
    """Width of a letter in sizes."""
    return _font(bold, mono).load_char(ord(letter)).linearHoriAdvance / 65536 / 100

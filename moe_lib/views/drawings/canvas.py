"""A canvas to draw on: boxes, tokens, lines, arrows and labels become a `Drawing`."""

import math

from moe_lib.errors import require, require_one_of
from moe_lib.views.drawings.drawing import Drawing
from moe_lib.views.drawings.shapes import SMALLEST, Box, Label, Line, Point, Shape, text_size
from moe_lib.views.kit.palette import HUES

WIDEST = 760  # pixels: what a cell's output holds in a window of 1,000


class Canvas:
    """Takes shapes one after the other, later ones on top; `drawing()` gives the picture.

    name     of the drawing, a word; title: what it is, in a few words
    words    what it shows, in whole sentences, for readers who do not see it
    width, height   in pixels; narrower pages scale it down

    Each method gives the shape back, so that an arrow can go from `box.right` to `other.left`.
    ValueError for a text that its box cannot hold, or a shape that leaves the canvas.
    """

    def __init__(self, name: str, title: str, words: str, width: float, height: float):
        require(0 < width <= WIDEST, "width", width, f"at most {WIDEST} pixels")
        require(len(words) >= 40, "words", words, "what the drawing shows, in sentences")
        self.name, self.title, self.words = name, title, words
        self.width, self.height = width, height
        self.shapes: list[Shape] = []

    def box(self, x: float, y: float, width: float, height: float, text: str = "", **looks) -> Box:
        """A rectangle with its upper left corner at (x, y); looks: the further fields of `Box`."""
        shape = Box(x, y, width, height, text, **looks)
        require_one_of("edge", shape.edge, ("solid", "dashed", "none"))
        if text:
            wide, high = text_size(text, shape.size, shape.bold, shape.mono)
            share = 0.8 if shape.circle else 1  # the corners of an ellipse hold nothing
            fits = wide + 6 <= share * width and high <= share * height + 2
            room = f"a box of at least {wide + 6:.0f} by {high:.0f} pixels, or a shorter text"
            require(fits, "text", f"{text!r} in {width:g} by {height:g}", room)
        self._inside(x, y, x + width, y + height, text or "a box")
        return self._add(shape)

    def circle(self, x: float, y: float, radius: float, text: str = "", **looks) -> Box:
        """A circle around (x, y)."""
        return self.box(x - radius, y - radius, 2 * radius, 2 * radius, text, circle=True, **looks)

    def token(self, x: float, y: float, text: str, **looks) -> Box:
        """A token: a small box around its text, its upper left corner at (x, y)."""
        size = looks.setdefault("size", 14)
        wide, high = text_size(text, size, looks.get("bold", False), mono=True)
        return self.box(x, y, wide + 14, high + 8, text, mono=True, **looks)

    def line(self, *points: Point, **looks) -> Line:
        """A line through the points; looks: hue, dashed, stroke."""
        require(len(points) >= 2, "points", points, "at least two")
        for x, y in points:
            self._inside(x, y, x, y, "a line")
        return self._add(Line(tuple(points), **looks))

    def arrow(self, *points: Point, **looks) -> Line:
        """The same with a head at its end."""
        return self.line(*points, arrow=True, **looks)

    def arc(self, centre: Point, radius: float, start: float, end: float, **looks) -> Line:
        """A piece of a circle from angle `start` to `end`, in degrees, counted against the clock
        from the right; `arrow=True` gives it a head."""
        steps = max(2, int(abs(end - start) / 6))
        angles = [math.radians(start + (end - start) * n / steps) for n in range(steps + 1)]
        points = [
            (centre[0] + radius * math.cos(a), centre[1] - radius * math.sin(a)) for a in angles
        ]
        return self.line(*points, **looks)

    def label(self, x: float, y: float, text: str, **looks) -> Label:
        """Text at (x, y); looks: the further fields of `Label`."""
        shape = Label(x, y, text, **looks)
        require_one_of("anchor", shape.anchor, ("start", "middle", "end"))
        self._inside(*shape.bounds, text)
        return self._add(shape)

    def drawing(self) -> Drawing:
        """What has been drawn so far."""
        return Drawing(
            self.name, self.title, self.words, self.width, self.height, tuple(self.shapes)
        )

    def _add(self, shape: Shape):
        hues = f"None or a number from 0 to {len(HUES) - 1}"
        require(shape.hue is None or shape.hue in range(len(HUES)), "hue", shape.hue, hues)
        if not isinstance(shape, Line):
            require(shape.size >= SMALLEST, "size", shape.size, f"at least {SMALLEST} pixels")
        self.shapes.append(shape)
        return shape

    def _inside(self, left: float, top: float, right: float, bottom: float, what: str) -> None:
        inside = left >= 0 and top >= 0 and right <= self.width and bottom <= self.height
        place = f"{what!r} from ({left:.0f}, {top:.0f}) to ({right:.0f}, {bottom:.0f})"
        require(inside, "place", place, f"a place within {self.width:g} by {self.height:g}")

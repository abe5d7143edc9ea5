"""A drawing as SVG. Its colours are JupyterLab's where there are such, else the system's, light or
dark: every fill is a hue of the palette mixed with the ground, every edge one mixed with the ink.
"""

from functools import singledispatch
from html import escape

from moe_lib.views.drawings.shapes import LINE, Box, Label, Line, Point
from moe_lib.views.kit.palette import HUES

FILL, EDGE, WORD = 24, 58, 45  # per cent of the hue in a fill, an edge, a coloured word
STYLE = f"""
.moe-drawing {{ color-scheme: light dark; width: 100%; height: auto; display: block;
  --ink: var(--jp-ui-font-color1, CanvasText); --ground: var(--jp-layout-color0, Canvas);
  font-family: var(--jp-ui-font-family, "DejaVu Sans", system-ui, sans-serif); }}
:where(body[data-jp-theme-light="true"]) .moe-drawing {{ color-scheme: light; }}
:where(body[data-jp-theme-light="false"]) .moe-drawing {{ color-scheme: dark; }}
.moe-drawing text {{ fill: var(--ink); dominant-baseline: central; }}
.moe-drawing .mono {{ font-family: var(--jp-code-font-family, "DejaVu Sans Mono", monospace); }}
.moe-drawing .bold {{ font-weight: 600; }}
.moe-drawing .muted {{ fill: color-mix(in srgb, var(--ink) 72%, var(--ground)); }}
.moe-drawing .word {{ fill: color-mix(in srgb, var(--hue) {WORD}%, var(--ink)); }}
.moe-drawing .box {{ fill: color-mix(in srgb, var(--hue) {FILL}%, var(--ground));
  stroke: color-mix(in srgb, var(--hue) {EDGE}%, var(--ink)); stroke-width: 1.5; }}
.moe-drawing .plain {{ fill: color-mix(in srgb, var(--ink) 6%, var(--ground));
  stroke: color-mix(in srgb, var(--ink) 55%, var(--ground)); stroke-width: 1.3; }}
.moe-drawing .line {{ fill: none; stroke: color-mix(in srgb, var(--hue, var(--ink)) {EDGE}%,
  var(--ink)); stroke-linejoin: round; }}
.moe-drawing .head {{ fill: color-mix(in srgb, var(--hue, var(--ink)) {EDGE}%, var(--ink)); }}
.moe-drawing .dashed {{ stroke-dasharray: 5 4; }}
.moe-drawing .none {{ stroke: none; }}
"""
_HUES = "".join(f".moe-drawing .h{n} {{ --hue: {hue}; }}\n" for n, hue in enumerate(HUES))


def svg_of(drawing) -> str:
    """The text of an SVG element that stands alone or within a page."""
    name = f"moe-{drawing.name}".replace("_", "-")
    parts = "\n".join(_written(shape) for shape in drawing.shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="moe-drawing" role="img" '
        f'viewBox="0 0 {drawing.width:g} {drawing.height:g}" width="{drawing.width:g}" '
        f'height="{drawing.height:g}" style="max-width: {drawing.width:g}px" '
        f'aria-labelledby="{name}-title {name}-words">\n'
        f'<title id="{name}-title">{escape(drawing.title)}</title>\n'
        f'<desc id="{name}-words">{escape(drawing.words)}</desc>\n'
        f"<style>{STYLE}{_HUES}</style>\n{_HATCH if _hatched(drawing) else ''}{parts}\n</svg>"
    )


_HATCH = (
    '<defs><pattern id="moe-hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path class="line" d="M0 0V7" stroke-width="1.6"/></pattern>'
    "</defs>\n"
)


def _hatched(drawing) -> bool:
    return any(isinstance(shape, Box) and shape.hatched for shape in drawing.shapes)


@singledispatch
def _written(shape) -> str:
    raise TypeError(f"shape: got {type(shape).__name__}; wants a Box, Line or Label")


@_written.register
def _(box: Box) -> str:
    looks = _classes("box" if box.hue is not None else "plain", hue=box.hue)
    looks += f" {box.edge}" if box.edge != "solid" else ""
    x, y = box.middle
    if box.circle:
        outline = f'cx="{x:g}" cy="{y:g}" rx="{box.width / 2:g}" ry="{box.height / 2:g}"'
        shape = f"<ellipse {outline}"
    else:
        corner = min(5, box.height / 4)
        place = f'x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}"'
        shape = f'<rect {place} rx="{corner:g}"'
    drawn = f'{shape} class="{looks}"/>'
    if box.hatched:
        drawn += f'{shape} fill="url(#moe-hatch)"/>'
    if not box.text:
        return drawn
    first = y - (box.text.count("\n")) * box.size * LINE / 2
    return drawn + _text(x, first, box.text, "middle", box.size, _letters(box))


@_written.register
def _(line: Line) -> str:
    hue = _classes(hue=line.hue)
    looks = f"line{hue}" + (" dashed" if line.dashed else "")
    drawn = f'<path class="{looks}" stroke-width="{line.stroke:g}" d="{_path(line.shaft())}"/>'
    if line.arrow:
        drawn += f'<path class="head{hue}" d="{_path(line.head())}Z"/>'
    return drawn


@_written.register
def _(label: Label) -> str:
    looks = _letters(label) + (" muted" if label.muted else "")
    looks += f" word h{label.hue}" if label.hue is not None else ""
    return _text(label.x, label.y, label.text, label.anchor, label.size, looks.strip())


def _classes(*names: str, hue: int | None) -> str:
    return " ".join(names) + (f" h{hue}" if hue is not None else "")


def _letters(shape: Box | Label) -> str:
    return " ".join(name for name in ("bold", "mono") if getattr(shape, name))


def _text(x: float, y: float, text: str, anchor: str, size: float, looks: str) -> str:
    lines = "".join(
        f'<tspan x="{x:g}" y="{y + n * size * LINE:g}">{escape(line)}</tspan>'
        for n, line in enumerate(text.split("\n"))
    )
    names = f' class="{looks}"' if looks else ""
    return f'<text{names} text-anchor="{anchor}" font-size="{size:g}">{lines}</text>'


def _path(points: tuple[Point, ...]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)

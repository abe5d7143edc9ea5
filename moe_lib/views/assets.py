"""The scripts and styles of the widgets, joined: the browser loads one module and one stylesheet for each widget."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"


def script(*names: str) -> str:
    """One JavaScript module: static/elements.js, which all widgets draw with, then static/NAME.js of each name."""
    return _joined([f"{name}.js" for name in ("elements", *names)])


def style(*names: str) -> str:
    """One stylesheet: static/NAME.css of each name, then static/theme.css, which holds for all widgets."""
    return _joined([f"{name}.css" for name in (*names, "theme")])


def _joined(files: list[str]) -> str:
    return "\n".join((STATIC / file).read_text(encoding="utf-8") for file in files)

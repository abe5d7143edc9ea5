"""The scripts and styles of the widgets, joined: the browser loads one module and one stylesheet
for each widget."""

from pathlib import Path

from moe_lib.views.kit.palette import variables

VIEWS = Path(__file__).parents[1]


def script(*names: str) -> str:
    """One JavaScript module: kit/elements.js, which all widgets draw with, then NAME.js of each
    name, in whose folder it is."""
    return _joined([f"{name}.js" for name in ("elements", *names)])


def style(*names: str) -> str:
    """One stylesheet: the colours, NAME.css of each name, then kit/theme.css, which holds for all
    widgets."""
    return f"{variables()}\n{_joined([f'{name}.css' for name in (*names, 'theme')])}"


def _joined(files: list[str]) -> str:
    return "\n".join(next(VIEWS.glob(f"*/{file}")).read_text(encoding="utf-8") for file in files)

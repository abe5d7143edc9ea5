"""A finished drawing: an SVG that follows the page's colours, a still picture, and its words."""

from base64 import b64encode
from dataclasses import dataclass
from html import escape

from IPython.display import display

from moe_lib.views.drawings.shapes import Shape


@dataclass(frozen=True)
class Drawing:
    """Shown by a notebook when it is the last line of a cell; see `Canvas`, which makes it.

    A page that runs shows the SVG within itself, in JupyterLab's colours. JupyterLab shows an SVG
    of a notebook that it does not trust to nobody, so a PNG stands beside it, and the words follow
    as one folded line.
    """

    name: str
    title: str
    words: str
    width: float
    height: float
    shapes: tuple[Shape, ...]

    @property
    def summary(self) -> str:
        """The title and what is seen, in words."""
        return f"{self.title}. {self.words}"

    def svg(self) -> str:
        from moe_lib.views.drawings.as_svg import svg_of

        return svg_of(self)

    def png(self, dpi: int = 100) -> bytes:
        """The drawing on a light ground; the same bytes every time."""
        from moe_lib.views.drawings.as_still import png_of

        return png_of(self, dpi)

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        return self.svg()

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict]:
        data = {
            "text/html": self.svg(),
            "image/svg+xml": self.svg(),
            "image/png": b64encode(self.png()).decode("ascii"),
            "text/plain": self.summary,
        }
        return data, {"image/png": {"alt": self.summary}}

    def _ipython_display_(self) -> None:
        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)
        words = escape(self.summary)
        folded = f"<details><summary>The picture in words</summary><p>{words}</p></details>"
        said = f"The picture in words: {self.summary}"
        display({"text/html": folded, "text/plain": said}, raw=True)

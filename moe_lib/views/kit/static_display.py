"""One display for readers with a kernel and without: the live widget, its picture, and its
words."""

from base64 import b64encode
from html import escape
from io import BytesIO

from IPython.display import display


class StaticDisplay:
    """Mixin, placed before the widget class. The widget provides `figure()` and `summary`, its
    picture and words.

    Where widgets cannot run (a notebook not trusted, GitHub, nbconvert) readers see the picture.
    JupyterLab gives pictures no alternative text, so the words also follow the widget as one folded
    line of HTML.
    """

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict]:
        live = super()._repr_mimebundle_(**options)
        live = live[0] if isinstance(live, tuple) else live
        data = {
            **live,
            "image/png": b64encode(self.png()).decode("ascii"),
            "text/plain": self.summary,
        }
        return data, {"image/png": {"alt": self.summary}}

    def _ipython_display_(self) -> None:
        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)
        folded = (
            "<details><summary>The picture in "
            f"words</summary><p>{escape(self.summary)}</p></details>"
        )
        display(
            {"text/html": folded, "text/plain": f"The picture in words: {self.summary}"}, raw=True
        )

    def png(self, dpi: int = 100) -> bytes:
        """The picture of what is shown now; the same bytes every time."""
        buffer = BytesIO()
        self.figure().savefig(
            buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None}
        )
        return buffer.getvalue()

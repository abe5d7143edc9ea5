"""One display for readers with a kernel and without: the live widget, its picture, and its
words."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import BytesIO
from uuid import uuid4

from IPython.display import display

from moe_lib.errors import require_whole


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
        self._put()

    @contextmanager
    def on_show(self) -> Iterator[None]:
        """Show the widget at once and let the block work on it in view; when it is done, picture
        and words are those of the end. If it fails, they stay as they were."""
        name = uuid4().hex
        self._put(name)
        yield
        self._put(name, update=True)

    def _put(self, name: str | None = None, update: bool = False) -> None:
        """Display the widget, and its words folded; `name` is of the place, to be updated later."""
        data, metadata = self._repr_mimebundle_()
        folded = (
            "<details><summary>The picture in "
            f"words</summary><p>{escape(self.summary)}</p></details>"
        )
        words = {"text/html": folded, "text/plain": f"The picture in words: {self.summary}"}
        for part, (content, about) in enumerate(((data, metadata), (words, {}))):
            place = {"display_id": f"{name}-{part}", "update": update} if name else {}
            display(content, metadata=about, raw=True, **place)

    def png(self, dpi: int = 100) -> bytes:
        """The picture of what is shown now; the same bytes every time."""
        require_whole("dpi", dpi, at_least=10, at_most=1200)
        buffer = BytesIO()
        self.figure().savefig(
            buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None}
        )
        return buffer.getvalue()

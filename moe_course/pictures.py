"""Show a matplotlib figure together with its words; one that a running cell draws again and
again, too."""

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import Annotated, Any
from uuid import uuid4

from IPython.display import display

from moe_lib.validation import Block, Text, checked, number

MIN_WORDS = 20  # characters; less cannot say what a picture shows
Dpi = Annotated[float, number(1, 1200)]  # more fills the memory


def _figure(value: object) -> Any:
    from matplotlib import figure  # slow to import, and there already where there is a figure

    if not isinstance(value, figure.Figure):
        raise TypeError
    return value


def _tells(alt: str) -> bool:
    return len(" ".join(alt.split())) >= MIN_WORDS


Figure = Annotated[Any, Block("a matplotlib Figure", _figure)]
Alt = Annotated[
    Text,
    Block(f"a sentence of at least {MIN_WORDS} characters on what is seen", str, _tells),
]


@checked
def show(figure: Figure, alt: Alt, dpi: Dpi = 100) -> None:
    """Display `figure` as a PNG and `alt`, what it shows in words, below it; then close it.

    JupyterLab gives a PNG output no alternative text, whatever the notebook says, and drops
    embedded HTML images from notebooks that are not trusted. So the words travel three ways: as the
    picture's text/plain, as its "alt" metadata (nbconvert reads it), and as a folded line of HTML
    that every reader renders. Raises ValueError if `alt` is shorter than 20 characters.
    """
    for data, metadata in _outputs(figure, alt, dpi):
        display(data, raw=True, metadata=metadata)


class LivePicture:
    """One place for a picture that changes while a cell runs, and its words.

    `show(figure, alt)` is the function `show`, except that from the second time on it replaces what
    it showed before.
    """

    @checked
    def __init__(self, dpi: Dpi = 100):
        self._dpi, self._name, self._shown = dpi, uuid4().hex, False

    @checked
    def show(self, figure: Figure, alt: Alt) -> None:
        outputs = _outputs(figure, alt, self._dpi)
        for place, (data, metadata) in enumerate(outputs):
            name = f"{self._name}-{place}"
            display(data, raw=True, metadata=metadata, display_id=name, update=self._shown)
        self._shown = True


def _outputs(figure, alt: str, dpi: int) -> list[tuple[dict, dict]]:
    """(data, metadata) of the picture and of its folded words; the figure is closed."""
    from matplotlib import pyplot as plt

    words, buffer = " ".join(alt.split()), BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=dpi,
        bbox_inches="tight",
        facecolor="white",
        metadata={"Software": None},
    )
    plt.close(figure)
    picture = {"image/png": b64encode(buffer.getvalue()).decode("ascii"), "text/plain": words}
    folded = f"<details><summary>The picture in words</summary><p>{escape(words)}</p></details>"
    said = {"text/html": folded, "text/plain": f"The picture in words: {words}"}
    return [(picture, {"image/png": {"alt": words}}), (said, {})]

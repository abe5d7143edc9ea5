"""Show a matplotlib figure together with its words."""

from base64 import b64encode
from html import escape
from io import BytesIO

from IPython.display import display

MIN_WORDS = 20  # characters; less cannot say what a picture shows


def show(figure, alt: str, dpi: int = 100) -> None:
    """Display `figure` as a PNG and `alt`, what it shows in words, below it; then close it.

    JupyterLab gives a PNG output no alternative text, whatever the notebook says, and drops
    embedded HTML images from notebooks that are not trusted. So the words travel three ways: as the
    picture's text/plain, as its "alt" metadata (nbconvert reads it), and as a folded line of HTML
    that every reader renders. Raises ValueError if `alt` is shorter than 20 characters.
    """
    words = " ".join(str(alt).split())
    if len(words) < MIN_WORDS:
        raise ValueError(
            f"alt: got {alt!r}; wants a sentence of at least {MIN_WORDS} characters on what is seen"
        )
    from matplotlib import pyplot as plt

    buffer = BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=dpi,
        bbox_inches="tight",
        facecolor="white",
        metadata={"Software": None},
    )
    plt.close(figure)
    display(
        {"image/png": b64encode(buffer.getvalue()).decode("ascii"), "text/plain": words},
        raw=True,
        metadata={"image/png": {"alt": words}},
    )
    folded = f"<details><summary>The picture in words</summary><p>{escape(words)}</p></details>"
    display({"text/html": folded, "text/plain": f"The picture in words: {words}"}, raw=True)

"""Continuous batching in a picture: who waits and who is served, in each way of batching."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from moe_lib.errors import is_number, require
from moe_lib.validation import Text, checked
from moe_lib.views.kit.lettering import WIDTH, named, plain_words
from moe_lib.views.kit.palette import BLUE, FAINT

Histories = Sequence[tuple[float, float, float]]  # arrived, first token, last token


@checked
@plain_words
def histories_figure(ways: Mapping[str, Histories], unit: Text = "passes of the model") -> Figure:
    """A panel a way of batching, a line a request, in the order of arrival: grey while it waits for
    its first token, blue while it is written.

    ways   name -> per request (arrived, first token, last token)

    ValueError for no way, none of their requests, or times that run backwards.
    """
    require(len(ways) > 0, "ways", "no way", "at least one")
    for name, histories in ways.items():
        require(len(histories) > 0, f"ways[{name!r}]", "no request", "at least one")
        for place, one in enumerate(histories):
            ordered = len(one) == 3 and all(map(is_number, one)) and list(one) == sorted(one)
            wants = "(arrived, first token, last token), one after the other"
            require(ordered, f"ways[{name!r}][{place}]", one, wants)
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    panels = figure.subplots(1, len(ways), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (name, histories) in zip(panels, ways.items(), strict=True):
        rows = range(1, len(histories) + 1)
        arrived, first, ended = zip(*histories, strict=True)
        ax.hlines(rows, arrived, first, color=FAINT, lw=3, label="waits")
        ax.hlines(rows, first, ended, color=BLUE, lw=3, label="is written")
        ax.set_title(named(name), fontsize=10)
        ax.set_xlabel(unit, fontsize=9)
        ax.tick_params(labelsize=8)
        ax.grid(axis="x", alpha=0.3)
    panels[0].set_ylabel("request", fontsize=9)
    panels[0].invert_yaxis()
    panels[-1].legend(loc="upper right", fontsize=8)
    return figure

"""A Routing as a grid of tokens and experts."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from moe_lib.model.routing import Routing
from moe_lib.views.kit.lettering import drawable, keep_words
from moe_lib.views.kit.palette import RULE, VERMILION

_DROPPED = VERMILION
# Of a weight: even one near 0 stands out from the white of what was not chosen.
WEIGHTS = ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.3, 1, 256)))


def draw_routing(ax: Axes, routing: Routing, title: str, labels: list[str] | None = None) -> None:
    """A Routing as a grid: a row per token, a column per expert, dark where the weight is large, a
    cross where a choice was dropped. Weights are shown relative to 1."""
    tokens, n_experts = routing.logits.shape
    weights = np.full((tokens, n_experts), np.nan)
    rows = np.arange(tokens)[:, None].repeat(routing.experts.shape[1], 1)
    chosen, kept = routing.choices().cpu().numpy(), routing.kept.cpu().numpy()
    experts = routing.experts.cpu().numpy()
    stays = chosen & kept
    weights[rows[stays], experts[stays]] = routing.weights.detach().cpu().numpy()[stays]
    ax.imshow(weights, cmap=WEIGHTS, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    lost = chosen & ~kept
    ax.plot(experts[lost], rows[lost], "x", color=_DROPPED, markersize=4, markeredgewidth=1.6)
    ax.set_xticks(np.arange(-0.5, n_experts), minor=True)
    ax.set_yticks(np.arange(-0.5, tokens), minor=True)
    ax.grid(which="minor", color=RULE, linewidth=0.4)
    ax.tick_params(which="both", length=0, labelsize=7)
    ax.set_xticks(range(0, n_experts, max(1, n_experts // 8)))
    ax.set_yticks(
        range(tokens) if labels else [], [drawable(label) for label in labels] if labels else []
    )
    ax.set_title(title, fontsize=9)
    keep_words(ax)

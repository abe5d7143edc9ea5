"""Pictures of chapter 02: where the gradient of the masked loss is, and what it says there."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from moe_lib.errors import require
from moe_lib.validation import Count, Natural, checked, require_tensor
from moe_lib.views.kit.lettering import WIDTH, plain_words, shortened
from moe_lib.views.kit.palette import BLUE, VERMILION


@checked
@plain_words
def gradient_figure(
    gradient: Tensor,
    tokens: Sequence[str],
    vocabulary: Sequence[str],
    place: Natural,
    true: Natural,
    most: Count = 6,
) -> Figure:
    """The gradient of a masked loss: its size at each position, and its largest entries at one.

    gradient     (positions, vocabulary), with respect to the logits
    tokens       a word per position; vocabulary: a word per id
    place, true  the position that is looked into, and the id of its true token, which is hatched
    """
    require_tensor("gradient", gradient, (len(tokens), len(vocabulary)))
    require(place < len(tokens), "place", place, f"a position below {len(tokens)}")
    require(true < len(vocabulary), "true", true, f"an id below {len(vocabulary)}")
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1.1))
    left.bar(range(len(tokens)), gradient.abs().sum(-1).tolist(), color=BLUE)
    labels = [shortened(token, 14) for token in tokens]
    left.set_xticks(range(len(tokens)), labels, rotation=90, fontsize=8)
    left.set(title="Size of the gradient at each position", ylabel="sum of absolute values")
    top = gradient[place].abs().topk(min(most, len(vocabulary))).indices.tolist()
    bars = right.barh(range(len(top)), gradient[place, top].tolist(), color=BLUE)
    for bar, token in zip(bars, top, strict=True):
        if token == true:
            bar.set(facecolor=VERMILION, hatch="///", edgecolor="black")
    names = [shortened(vocabulary[token], 14) for token in top]
    right.set_yticks(range(len(top)), names, fontsize=8)
    right.axvline(0, color="black", lw=0.8)
    right.invert_yaxis()
    right.set_title(f"Its largest entries at “{labels[place]}”")
    hidden = int((gradient.abs().sum(-1) > 0).sum())
    right.set_xlabel(f"(p − 1[true]) / {hidden}")
    return figure

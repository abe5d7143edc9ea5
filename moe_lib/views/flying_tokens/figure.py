"""The flying tokens as a picture: rows from device to device, and what each device computes."""

from matplotlib.figure import Figure

from moe_lib.views.flying_tokens.flights import Plan
from moe_lib.views.kit.lettering import WIDTH, plain_words
from moe_lib.views.kit.palette import BLUE, DARK_INK, VERMILION


@plain_words
def flights_figure(plan: Plan, at: int) -> Figure:
    """at: tokens that have flown."""
    rows, work = plan.rows(at).numpy(), plan.work(at).numpy()
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    links, bars = figure.subplots(1, 2, width_ratios=(1, 1.3))
    most = max(1, int(rows.max()))
    links.imshow(rows, cmap="Blues", vmin=0, vmax=1.4 * most, interpolation="nearest")
    for source in range(plan.devices):
        for target in range(plan.devices):
            if source != target:
                number = int(rows[source, target])
                weight = "bold" if number == most and number else "normal"
                links.text(
                    target, source, number, ha="center", va="center", color=DARK_INK, weight=weight
                )
    numbers = list(range(plan.devices))
    links.set(xticks=numbers, yticks=numbers, xlabel="to device", ylabel="from device")
    links.set_title(f"Rows sent, {at} of {len(plan.flights)} tokens", fontsize=10)
    bars.bar(numbers, work, color=BLUE, edgecolor="black", lw=0.6)
    mean = float(work.mean())
    bars.axhline(mean, color=VERMILION, ls="--", lw=1.2)
    bars.annotate("mean", (1.005, mean), xycoords=("axes fraction", "data"), va="center")
    bars.set(xticks=numbers, xlabel="device", ylabel="pairs computed")
    bars.set_title("Work of each device", fontsize=10)
    bars.spines[["top", "right"]].set_visible(False)
    return figure

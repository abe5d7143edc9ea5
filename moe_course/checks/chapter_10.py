"""Checks of the exercises of chapter 10, pretraining."""

import torch
import torch.nn.functional as F

from moe_course.checks.comparisons import (
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
)

IGNORED = -100


def check_bracket(bracket):
    falling = {1000: 5.0, 2000: 4.0, 3000: 3.5, 4000: 3.0}
    bumpy = {1000: 5.0, 2000: 3.4, 3000: 3.8, 4000: 3.2, 5000: 3.1}
    begins_low = {1000: 3.4, 2000: 3.8, 3000: 3.2, 4000: 3.1}
    for curve, target, what in (
        (falling, 3.25, "a curve that passes 3.25 between 3,000 and 4,000 tokens"),
        (falling, 4.0, "a curve that measures exactly 4.0 at 2,000 tokens"),
        (bumpy, 3.6, "a curve that is below 3.6 early, above it again, and below at the end"),
        (begins_low, 3.6, "a curve that starts below 3.6, rises above it, and is below at the end"),
        (dict(reversed(falling.items())), 3.25, "the points of the first curve, last to first"),
        (falling, 6.0, "a curve that is below 6.0 at its first measurement already"),
        (falling, 2.9, "a curve that never gets as low as 2.9"),
        ({**bumpy, 5000: 3.7}, 3.6, "a curve that was below 3.6 and is above it at the end"),
    ):
        _expect_bracket(bracket(dict(curve), target), curve, target, f"For {what}")
    return "Between two measurements, and for good."


def _expect_bracket(answer, curve, target, what):
    points = sorted(curve.items())
    right = _bracket(points, target)
    if right is None:
        expect_true(
            answer is None, f"{what}: got {answer!r}; want None, for the end is above the target."
        )
        return
    as_given = "the points are taken as they were given. Who says that they come in order?"
    if answer is None:
        given = _bracket(list(curve.items()), target) is None
        why = as_given if given else "the curve does get there, and stays to the end."
        expect_true(False, f"{what}: got None; {why}")
    pair = isinstance(answer, (tuple, list)) and len(answer) == 2
    expect_true(
        pair,
        f"{what}: return two numbers of tokens, the last measurement above the target and the "
        "next. What happened between them was not measured.",
    )
    strictly = _bracket([(at, loss if loss != target else loss + 1) for at, loss in points], target)
    wrong = {
        "they stand the wrong way round: first above the target, then at or below it": right[::-1],
        "it is down there, but goes up again later. From when on does it stay down?": _first(
            points, target
        ),
        "a measurement that equals the target counts as reached": strictly,
        as_given: _bracket(list(curve.items()), target),
        "the second number is the next measurement, not the last": (right[0], points[-1][0]),
        "it is down at the first measurement already: it got there between 0 and that": (
            *[at for at, _ in points[:2]],
        ),
        "these are places in the list; the tokens stand in the keys": tuple(
            [at for at, _ in points].index(one) if one else -1 for one in right
        ),
        "these are losses; the tokens are asked for": (
            curve.get(right[0], 0.0),
            curve[right[1]],
        ),
    }
    got = tuple(float(one) for one in answer)
    for message, numbers in wrong.items():
        if numbers is not None and tuple(numbers) != right and got == tuple(map(float, numbers)):
            expect_true(False, f"{what}: {message}{'' if message.endswith('?') else '.'}")
    expect_equal(tuple(int(one) for one in got), right, f"{what}: the two numbers of tokens")


def _bracket(points, target):
    if points[-1][1] > target:
        return None
    above = [place for place, (_, loss) in enumerate(points) if loss > target]
    if not above:
        return 0, points[0][0]
    return points[above[-1]][0], points[above[-1] + 1][0]


def _first(points, target):
    place = next(place for place, (_, loss) in enumerate(points) if loss <= target)
    return (points[place - 1][0] if place else 0), points[place][0]


def check_from_dense(experts_from_dense):
    for width, hidden, experts, m, c in (
        (6, 4, 3, 1, 1.0),
        (6, 5, 6, 3, 2.0),
        (8, 4, 8, 4, 2.5),
        (4, 3, 4, 2, 16.0),
    ):
        gate, up, down = (
            torch.randn(width, hidden),
            torch.randn(width, hidden),
            torch.randn(hidden, width),
        )
        given = gate.clone(), up.clone(), down.clone()
        answer = expect_answer(experts_from_dense(*given, experts, m, c), "the answer")
        what = f"experts_from_dense with E = {experts}, m = {m}, c = {c:g}"
        expect_true(
            isinstance(answer, (tuple, list)) and len(answer) == 2,
            f"{what}: return two tensors, gate_up and down.",
        )
        for name, before, after in zip(
            ("gate", "up", "down"), (gate, up, down), given, strict=True
        ):
            expect_true(
                torch.equal(before, after),
                f"{what}: your function changed `{name}` itself: make a new tensor.",
            )
        part = width // m
        expect_shape(answer[0], (experts, 2 * part, hidden), f"{what}: gate_up")
        expect_shape(answer[1], (experts, hidden, part), f"{what}: down")
        turn = [e % m for e in range(experts)]
        gates, ups, downs = gate.chunk(m), up.chunk(m), torch.stack(down.chunk(m, dim=1))
        blocks = [e * m // experts for e in range(experts)]
        expect_close(
            answer[0],
            torch.stack([torch.cat((gates[t], ups[t])) for t in turn]),
            f"{what}: gate_up",
            hints={
                "up stands on top of gate": torch.stack(
                    [torch.cat((ups[t], gates[t])) for t in turn]
                ),
                "the first experts all hold slice 0: want the slices in turn, e mod m": torch.stack(
                    [torch.cat((gates[t], ups[t])) for t in blocks]
                ),
                "gate and up carry a factor; only down should": torch.stack(
                    [torch.cat((gates[t], ups[t])) for t in turn]
                )
                * m
                / c,
            },
        )
        raw = downs[turn]
        expect_close(
            answer[1],
            raw * m / c,
            f"{what}: down",
            hints={
                "the slices are right, the factor m / c is missing": raw
                if m != c
                else 0 * raw + torch.nan,
                "the weights sum to c, so each slice gets c / m: divide by c, too": raw * m,
                "m slices share the weight: multiply by m, too": raw / c,
                "the factor is upside down": raw * c / m,
            },
        )
        x = torch.randn(7, hidden)
        _expect_same_function(answer, x, gate, up, down, m, c, what)
    return "Chosen equally, the slices compute what the dense layer did."


def _expect_same_function(answer, x, gate, up, down, m, c, what):
    total = 0
    for gate_up, own_down in list(zip(*answer, strict=True))[
        :m
    ]:  # the first m experts hold every slice once
        own_gate, own_up = gate_up.chunk(2)
        total = total + c / m * ((F.silu(x @ own_gate.T) * (x @ own_up.T)) @ own_down.T)
    expect_close(
        total,
        (F.silu(x @ gate.T) * (x @ up.T)) @ down.T,
        f"{what}: the output of all slices together",
    )


def check_heldout_loss(heldout_loss):
    full = [torch.ones(16, 8, dtype=torch.int64) for _ in range(10)]
    _expect_loss(heldout_loss, [4.0] * 10, full, "10 batches of 16 rows, each with a loss of 4.0")
    shapes = ((4, 6), (5, 4), (3, 6))
    uneven = [torch.ones(shape, dtype=torch.int64) for shape in shapes]
    uneven[0][:, 1:] = IGNORED
    uneven[1][:, :3] = 0  # token id 0 is a target like any other
    uneven[2][:2] = IGNORED
    _expect_loss(heldout_loss, [6.0, 2.0, 3.0], uneven, "Batches with 4, 20 and 6 targets")
    smaller = [torch.ones(5, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.int64)]
    _expect_loss(heldout_loss, [1.0, 7.0], smaller, "A last batch with fewer rows")
    return "Every predicted token counts once, whichever batch it came in."


def _expect_loss(heldout_loss, losses, labels, what):
    answer = expect_answer(heldout_loss(list(losses), list(labels)), "heldout_loss's answer")
    counts = [int((batch != IGNORED).sum()) for batch in labels]
    rows, everything = [len(batch) for batch in labels], [batch.numel() for batch in labels]

    def weighted(weights):
        return sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(
            weights
        )

    expect_close(
        answer,
        weighted(counts),
        what,
        hints={
            "a sum of means, divided by the number of rows: too small by about the rows "
            "in a batch": sum(losses) / sum(rows),
            "a sum of means, divided by the number of tokens: means and sums do not mix": sum(
                losses
            )
            / sum(counts),
            "the mean of the batches' means: right only if all have as many targets": sum(losses)
            / len(losses),
            "the batches are weighted by their rows: want the tokens that are predicted": weighted(
                rows
            ),
            "the batches are weighted by all their tokens: those labelled -100 are not "
            "predicted": weighted(everything),
            "targets with token id 0 are left out; only -100 means no target": weighted(
                [int((batch > 0).sum()) for batch in labels]
            ),
            "the weighted sum is there; divide it by the number of targets": sum(
                loss * count for loss, count in zip(losses, counts, strict=True)
            ),
        },
    )


CHECKS = {"10.1": check_bracket, "10.2": check_from_dense, "10.3": check_heldout_loss}

"""Checks of the exercises of chapter 17, scaling out."""

import torch

from moe_course.checks.comparisons import (
    NotYet,
    expect_answer,
    expect_close,
    expect_shape,
    expect_true,
)
from moe_lib.parallel.placement import pack


def check_combine(combine):
    for hidden in ([3, 5], [40, 8, 24], [6, 0, 2], [7, 7]):
        counts = torch.tensor(hidden)
        gradients = torch.randn(len(hidden), 6)
        gradients[counts == 0] = 0.0  # a process without a hidden token has no gradient
        answer = expect_answer(combine(gradients.clone(), counts), "combine's answer")
        what = f"combine, with {hidden} hidden tokens"
        expect_shape(answer, (6,), what)
        share = counts / counts.sum()
        hints = {
            "every process counts alike, however few tokens it had": gradients.mean(0),
            "the means are added up: with two equal processes the result is twice too large": (
                gradients.sum(0)
            ),
            "this is a sum over all hidden tokens; a mean divides by their number": (
                counts.float() @ gradients
            ),
            "the weights sum to the number of processes; they must sum to 1": (
                len(hidden) * share @ gradients
            ),
            "the sums are divided by the number of processes, not by the number of tokens": (
                counts.float() @ gradients / len(hidden)
            ),
            "who has fewer tokens counts for more; want it the other way round": (
                (1 / (counts + 1e-9)) / (1 / (counts + 1e-9)).sum() @ gradients
            ),
            "this is one process's gradient": lambda a, g=gradients: any(
                torch.allclose(a, row) for row in g
            ),
            "the weights are a softmax of the numbers; want the numbers over their sum": (
                counts.float().softmax(0) @ gradients
            ),
        }
        right = share @ gradients
        hints = {text: wrong for text, wrong in hints.items() if not _equal(wrong, right)}
        expect_close(answer, right, what, hints=hints)
    return "Every hidden token counts once, wherever it was."


def _equal(wrong, right) -> bool:
    return isinstance(wrong, torch.Tensor) and torch.allclose(wrong, right, atol=1e-5)


def check_rows(rows_for_ranks):
    for tokens, k, n_own, ranks in ((9, 2, 4, 2), (12, 3, 2, 4), (5, 6, 3, 3)):
        experts = torch.stack([torch.randperm(n_own * ranks)[:k] for _ in range(tokens)])
        answer = expect_answer(rows_for_ranks(experts.clone(), n_own, ranks), "the answer")
        answer = torch.as_tensor(answer) if isinstance(answer, list | tuple) else answer
        what = f"rows_for_ranks, {tokens} tokens, {k} of {n_own * ranks} experts, {ranks} ranks"
        expect_shape(answer, (ranks,), what)
        home = experts // n_own  # (tokens, k)
        right = torch.stack([(home == rank).any(1).sum() for rank in range(ranks)])
        count = lambda place, n=ranks: torch.bincount(place.flatten(), minlength=n)[:n]  # noqa: E731
        hints = {
            "a token with two experts on one rank is sent there twice; once is enough": count(home),
            "only the first choice travels; the other experts are waiting": count(home[:, 0]),
            "expert e is on rank e // n_own, not on rank e % ranks": torch.stack(
                [(experts % ranks == rank).any(1).sum() for rank in range(ranks)]
            ),
            "the experts are divided by the number of ranks; divide by those of one rank": (
                torch.stack([(experts // ranks == rank).any(1).sum() for rank in range(ranks)])
            ),
            "this counts the experts that are used on each rank; count tokens": torch.stack(
                [experts[home == rank].unique().numel() * torch.tensor(1) for rank in range(ranks)]
            ),
            "every token goes to every rank here; only to those that hold one of its experts": (
                torch.full((ranks,), tokens)
            ),
            "a token goes only where all of its experts are": torch.stack(
                [(home == rank).all(1).sum() for rank in range(ranks)]
            ),
        }
        hints = {text: wrong for text, wrong in hints.items() if not torch.equal(wrong, right)}
        expect_close(answer, right, what, hints=hints)
    return "A row for each rank that a token needs, not for each expert."


def _line(sizes, seconds, weights):
    """alpha, slope of the weighted least squares."""
    matrix = torch.stack((torch.ones_like(sizes), sizes), 1) * weights[:, None]
    return torch.linalg.lstsq(matrix, (seconds * weights)[:, None]).solution[:, 0]


def check_fit(fit):
    for alpha, bandwidth in ((2e-4, 1.5e9), (1e-5, 5e10)):
        sizes = 2.0 ** torch.arange(10, 24, 2, dtype=torch.float64)
        noise = torch.exp(0.2 * torch.randn(len(sizes), dtype=torch.float64))
        seconds = (alpha + sizes / bandwidth) * noise
        answer = expect_answer(fit(sizes.clone(), seconds.clone()), "fit's answer")
        if not isinstance(answer, list | tuple) or len(answer) != 2:
            raise NotYet("fit returns two numbers: the delay in seconds, and bytes per second.")
        found = torch.tensor([float(value) for value in answer], dtype=torch.float64)
        best = _line(sizes, seconds, 1 / seconds)
        right = torch.stack((best[0], 1 / best[1]))
        plain = _line(sizes, seconds, torch.ones_like(seconds))
        rooted = _line(sizes, seconds, seconds**-0.5)
        origin = (sizes / seconds).sum() / (sizes / seconds).square().sum()
        expect_true(
            bool(torch.isfinite(found).all()),
            "fit's numbers are not finite: what is divided by 0?",
        )
        what = "fit, with noise of a fifth: its numbers over the right ones"
        forms = {
            "the second number is seconds per byte; want bytes per second, its inverse": best,
            "the two numbers stand the other way round": right.flip(0),
            "large messages decide alone: squares of seconds, not of relative errors. Divide "
            "every equation by its seconds first": torch.stack((plain[0], 1 / plain[1])),
            "large messages decide, and the slope is not inverted": plain,
            "the equations are divided by the root of the seconds; the square of a relative "
            "error has the seconds squared below it": torch.stack((rooted[0], 1 / rooted[1])),
            "there is no delay in this fit: the first column of the matrix is 1 / seconds": (
                torch.stack((torch.zeros_like(origin), 1 / origin))
            ),
            "the smallest message's time is taken as the delay; it has bytes, too": (
                torch.stack((seconds[0], right[1]))
            ),
            "these are bits per second; want bytes": torch.stack((right[0], 8 * right[1])),
        }
        hints = {text: form / right for text, form in forms.items()}
        expect_close(found / right, torch.ones_like(right), what, hints=hints, rtol=1e-3)
    return "A microsecond counts at a kilobyte and not at a megabyte, as it should."


def _greedy(load, devices, order, limit=True):
    room, place = len(load) // devices, torch.zeros(len(load), dtype=torch.int64)
    sums, held = [0.0] * devices, [0] * devices
    for expert in order.tolist():
        open_ = [d for d in range(devices) if not limit or held[d] < room]
        device = min(open_, key=sums.__getitem__)
        place[expert], held[device] = device, held[device] + 1
        sums[device] += float(load[expert])
    return place


def check_pack(pack_experts):
    for experts, devices in ((8, 2), (12, 4), (9, 3)):
        load = torch.randperm(200)[:experts].double().square() / 100 + 1
        answer = expect_answer(pack_experts(load.clone(), devices), "pack_experts's answer")
        answer = torch.as_tensor(answer) if isinstance(answer, list | tuple) else answer
        what = f"pack_experts, {experts} experts on {devices} devices"
        expect_shape(answer, (experts,), what)
        held = torch.bincount(answer.long().clamp(min=0), minlength=devices)
        down = load.argsort(descending=True)
        hints = {
            "the experts stand in their order; put the heaviest first, each where least is": (
                torch.arange(experts) // (experts // devices)
            ),
            "the loads are even, but one device has more experts than another: each has room for "
            "E / devices": _greedy(load, devices, down, limit=False),
            "the lightest come first; the heavy ones then find no good place": (
                _greedy(load, devices, load.argsort())
            ),
            "the experts come in the order of their numbers; sort them by load": (
                _greedy(load, devices, torch.arange(experts))
            ),
            "the sorted experts are dealt out in turn; look where there is least instead": (
                torch.empty(experts, dtype=torch.int64).scatter(
                    0, down, torch.arange(experts) % devices
                )
            ),
            "device d gets the d-th heaviest lot: all heavy ones together": (
                torch.empty(experts, dtype=torch.int64).scatter(
                    0, down, torch.arange(experts) // (experts // devices)
                )
            ),
            "expert e lies on e % devices, whatever its load": torch.arange(experts) % devices,
        }
        right = pack(load, devices)
        hints = {text: wrong for text, wrong in hints.items() if not torch.equal(wrong, right)}
        for text, wrong in hints.items():
            if torch.equal(answer.long(), wrong):
                raise NotYet(f"{what}: {text}")
        expect_true(
            len(held) == devices and bool((held == experts // devices).all()),
            f"{what}: the devices hold {held.tolist()} experts; want {experts // devices} each.",
        )
        expect_close(answer.long(), right, what)
    return "Heaviest first, each where there is least to do and still room."


CHECKS = {
    "17.1": check_combine,
    "17.2": check_rows,
    "17.3": check_fit,
    "17.4": check_pack,
}

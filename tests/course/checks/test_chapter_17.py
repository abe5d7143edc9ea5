"""Wrong answers to the exercises of chapter 17: each is refused, with the hint that fits it."""

import torch

from moe_course.checks.chapter_17 import CHECKS
from moe_course.checks.exercises import run_check
from moe_course.checks.verdicts import NOT_ATTEMPTED
from moe_lib.parallel.cost import fit_link
from moe_lib.parallel.placement import pack
from tests.course.checks.wrong_answers import cases, refused


def combine(gradients, hidden):
    return (gradients * hidden[:, None]).sum(0) / hidden.sum()


COMBINE = {
    "the broken code": (lambda g, n: g.mean(0), "every process counts alike"),
    "added up": (lambda g, n: g.sum(0), "twice too large"),
    "a sum over tokens": (lambda g, n: (g * n[:, None]).sum(0), "a mean divides"),
    "over the processes": (lambda g, n: (g * n[:, None]).mean(0), "not by the number of tokens"),
    "weights of their number": (
        lambda g, n: (g * (n / n.float().mean())[:, None]).sum(0),
        "they must sum to 1",
    ),
    "the other way round": (
        lambda g, n: ((1 / (n + 1e-9))[:, None] * g).sum(0) / (1 / (n + 1e-9)).sum(),
        "the other way round",
    ),
    "the first process": (lambda g, n: g[0], "one process's gradient"),
    "the largest process": (lambda g, n: g[n.argmax()], "one process's gradient"),
    "softmax": (lambda g, n: n.float().softmax(0) @ g, "a softmax"),
    "not summed": (lambda g, n: g * (n / n.sum())[:, None], "too many"),
}


def rows(experts, n_own, ranks):
    home = experts // n_own
    return [int((home == rank).any(1).sum()) for rank in range(ranks)]


def of_home(home, how):
    return lambda experts, n_own, ranks: torch.stack(
        [how(home(experts, n_own, ranks) == rank) for rank in range(ranks)]
    )


def right_home(experts, n_own, ranks):
    return experts // n_own


def some(there):
    return there.any(1).sum()


ROWS = {
    "a row an expert": (of_home(right_home, torch.sum), "sent there twice"),
    "first choice": (of_home(lambda e, n, r: e[:, :1] // n, some), "only the first choice"),
    "dealt out in turn": (of_home(lambda e, n, r: e % r, some), "not on rank e % ranks"),
    "divided by ranks": (of_home(lambda e, n, r: e // r, some), "divide by those of one rank"),
    "all tokens": (lambda e, n, r: torch.full((r,), len(e)), "every token goes to every rank"),
    "all experts there": (of_home(right_home, lambda t: t.all(1).sum()), "all of its experts"),
    "used experts": (
        lambda e, n, r: torch.stack(
            [torch.tensor(len(e[e // n == rank].unique())) for rank in range(r)]
        ),
        "experts that are used",
    ),
    "a mask": (lambda e, n, r: torch.stack([(e // n == i).any(1) for i in range(r)]), "shape"),
}


def least_squares(sizes, seconds, weights):
    matrix = torch.stack((torch.ones_like(sizes), sizes), 1) * weights[:, None]
    alpha, slope = torch.linalg.lstsq(matrix, (seconds * weights)[:, None]).solution[:, 0]
    return float(alpha), float(1 / slope)


def fit(sizes, seconds):
    return least_squares(sizes, seconds, 1 / seconds)


def inverted(answer):
    return answer[0], 1 / answer[1]


def plain(sizes, seconds):
    return least_squares(sizes, seconds, torch.ones_like(sizes))


def origin(sizes, seconds):
    ratio = sizes / seconds
    return 0.0, float(ratio.square().sum() / ratio.sum())


FIT = {
    "seconds a byte": (lambda s, t: inverted(fit(s, t)), "seconds per byte"),
    "swapped": (lambda s, t: fit(s, t)[::-1], "other way round"),
    "plain squares": (plain, "large messages decide alone"),
    "plain, not inverted": (lambda s, t: inverted(plain(s, t)), "the slope is not inverted"),
    "half weighted": (lambda s, t: least_squares(s, t, t**-0.5), "root of the seconds"),
    "no delay": (origin, "no delay"),
    "first message": (lambda s, t: (float(t[0]), fit(s, t)[1]), "it has bytes, too"),
    "bits": (lambda s, t: (fit(s, t)[0], 8 * fit(s, t)[1]), "bits per second"),
    "one number": (lambda s, t: fit(s, t)[0], "returns two numbers"),
    "two points": (
        lambda s, t: (float(t[0]), float((s[-1] - s[0]) / (t[-1] - t[0]))),
        "differs in",
    ),
}


def greedy(order, limit=True):
    def answer(load, devices):
        room, place = len(load) // devices, [0] * len(load)
        sums, held = [0.0] * devices, [0] * devices
        for expert in order(load).tolist():
            open_ = [d for d in range(devices) if not limit or held[d] < room]
            device = min(open_, key=sums.__getitem__)
            place[expert], held[device] = device, held[device] + 1
            sums[device] += float(load[expert])
        return place

    return answer


def heaviest(load):
    return load.argsort(descending=True)


def numbers(load):
    return torch.arange(len(load))


def dealt(load, devices):
    place = torch.empty(len(load), dtype=torch.int64)
    place[heaviest(load)] = numbers(load) % devices
    return place


def together(load, devices):
    place = torch.empty(len(load), dtype=torch.int64)
    place[heaviest(load)] = numbers(load) // (len(load) // devices)
    return place


PACK = {
    "in order": (lambda load, d: numbers(load) // (len(load) // d), "stand in their order"),
    "no room limit": (greedy(heaviest, limit=False), "more experts than another"),
    "lightest first": (greedy(torch.argsort), "lightest come first"),
    "not sorted": (greedy(numbers), "sort them by load"),
    "dealt out": (dealt, "dealt out in turn"),
    "heavy together": (together, "all heavy ones together"),
    "modulo": (lambda load, d: numbers(load) % d, "whatever its load"),
    "all on one": (lambda load, d: torch.zeros(len(load), dtype=torch.int64), "hold"),
}


@cases(COMBINE)
def test_wrong_gradients_of_several_processes_are_refused(answer, hint):
    refused("17.1", answer, hint)


@cases(ROWS)
def test_wrong_numbers_of_rows_are_refused(answer, hint):
    refused("17.2", answer, hint)


@cases(FIT)
def test_wrong_fits_of_a_link_are_refused(answer, hint):
    refused("17.3", answer, hint)


@cases(PACK)
def test_wrong_placements_are_refused(answer, hint):
    refused("17.4", answer, hint)


def of_the_library(sizes, seconds):
    link = fit_link(sizes.tolist(), seconds.tolist())
    return link.alpha, link.bandwidth


def test_right_answers_of_several_styles_pass_and_no_answer_is_none():
    for exercise, answer in (
        ("17.1", combine),
        ("17.1", lambda g, n: (n / n.sum()) @ g),
        ("17.2", rows),
        ("17.2", of_home(right_home, some)),
        ("17.3", fit),
        ("17.3", of_the_library),
        ("17.4", greedy(heaviest)),
        ("17.4", pack),
    ):
        torch.manual_seed(0)
        verdict = run_check(exercise, CHECKS[exercise], answer)
        assert verdict.passed, (exercise, verdict.message)
        nothing = run_check(exercise, CHECKS[exercise], lambda *arguments: None)
        assert nothing.status == NOT_ATTEMPTED

"""Checks of the exercises of chapter 09, DeepSeek-V2."""

import torch
import torch.nn.functional as F

from moe_course.checks.comparisons import expect_answer, expect_close, expect_shape, expect_true

IGNORED = -100


def check_heldout_loss(heldout_loss):
    full = [torch.ones(16, 8, dtype=torch.int64) for _ in range(10)]
    _expect_loss(heldout_loss, [4.0] * 10, full, "10 batches of 16 rows, each with a loss of 4.0")
    uneven = [torch.ones(4, 6, dtype=torch.int64) for _ in range(3)]
    uneven[0][:, 1:] = IGNORED
    uneven[1][:, :3] = 0  # token id 0 is a target like any other
    uneven[2][:2] = IGNORED
    _expect_loss(heldout_loss, [6.0, 2.0, 3.0], uneven, "Batches with 4, 24 and 12 targets")
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


def check_attend_next(attend_next):
    for parts, what in (
        ((5,), "The first call"),
        ((4, 1, 1), "Token by token"),
        ((3, 2, 4), "Several tokens at once"),
    ):
        q, k, v = torch.randn(3, sum(parts), 6).unbind()
        keys, values, begin = k[:0], v[:0], 0
        for new in parts:
            part = slice(begin, begin + new)
            answer = expect_answer(
                attend_next(q[part], k[part], v[part], keys, values, _turn), "attend_next's answer"
            )
            expect_true(
                isinstance(answer, (tuple, list)) and len(answer) == 3,
                "attend_next: return the mix, all keys and all values.",
            )
            _expect_step(answer, q, k, v, keys, begin, new, f"{what}, {begin} held and {new} new")
            _, keys, values = answer
            begin += new
    return "Positions and mask both go on where the cache ends."


def _turn(x, positions):
    """Pairs (i, i + d/2) of x (n, d), turned by position · 0.7^i."""
    angles = positions[:, None].to(x.dtype) * 0.7 ** torch.arange(x.shape[-1] // 2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat(
        (a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), dim=-1
    )


def _expect_step(answer, q, k, v, held_k, past, new, what):
    """Against attention over the whole text at once, of which the last `new` rows are looked at."""
    mixed, keys, values = answer
    total = past + new
    expect_shape(values, (total, v.shape[1]), f"{what}: all values")
    expect_close(values, v[:total], f"{what}: all values")
    expect_shape(keys, (total, k.shape[1]), f"{what}: all keys")
    everywhere, restarted = torch.arange(total), torch.arange(new)
    expect_close(
        keys,
        _turn(k[:total], everywhere),
        f"{what}: all keys",
        hints={
            "the new tokens start at position 0 again": torch.cat(
                (held_k, _turn(k[past:total], restarted))
            ),
            "the new keys are not turned": torch.cat((held_k, k[past:total])),
            "keys that are held are turned already: turn the new ones only": _turn(
                torch.cat((held_k, k[past:total])), everywhere
            ),
        },
    )
    expect_shape(mixed, (new, v.shape[1]), f"{what}: the mix")
    queries = _turn(q[:total], everywhere)[past:]
    short = torch.ones(new, total, dtype=torch.bool).tril()
    right = torch.ones(new, total, dtype=torch.bool).tril(past)
    args = (_turn(k[:total], everywhere), v[:total])
    expect_close(
        mixed,
        _mix(queries, *args, right),
        f"{what}: the mix",
        hints={
            "the mask is that of an empty cache: its diagonal must start after what is held": _mix(
                queries, *args, short
            ),
            "a query sees tokens that come after it": _mix(queries, *args, torch.ones_like(right)),
            "the queries start at position 0 again": _mix(
                _turn(q[past:total], restarted), *args, right
            ),
            "positions and mask both start at 0 again": _mix(
                _turn(q[past:total], restarted), *args, short
            ),
        },
    )


def _mix(queries, keys, values, visible):
    scores = queries @ keys.T / queries.shape[-1] ** 0.5
    return scores.masked_fill(~visible, -torch.inf).softmax(-1) @ values


CHECKS = {"09.1": check_heldout_loss, "09.2": check_from_dense, "09.3": check_attend_next}

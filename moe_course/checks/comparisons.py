"""Comparisons for exercise checks, with messages that say what went wrong and what to try.

Every `expect_…` returns quietly, or raises `NotYet` (a wrong answer) or `NotAttempted` (no answer
yet).
"""

from collections.abc import Callable, Mapping

import torch


class NotYet(Exception):
    """The answer is there and is not right; the message says why."""


class NotAttempted(Exception):
    """There is no answer yet."""


Hints = Mapping[
    str, object
]  # message -> what the wrong answer would equal, or a test on the answer


def expect_answer(actual, what: str):
    """Raise NotAttempted if `actual` is None, `...` or NotImplemented; else return it."""
    if actual is None:
        raise NotAttempted(
            f"{what} is None. If you have written code, check that it ends with `return`."
        )
    if actual is Ellipsis or actual is NotImplemented:
        raise NotAttempted(f"{what} is still a placeholder.")
    return actual


def call_without_autograd(function: Callable, *arguments):
    """What `function` gives where torch records nothing, so that a gradient has to be written by
    hand. Raise NotYet if it asks autograd."""
    try:
        with torch.inference_mode():
            return function(*arguments)
    except RuntimeError as error:
        if "grad" not in str(error) and "inference" not in str(error).lower():
            raise
        raise NotYet(
            "autograd gives the right numbers and hides why. Write them by hand here, out of the "
            "arguments."
        ) from error


def expect_true(condition, message: str) -> None:
    """Raise NotYet with `message` unless `condition` holds."""
    if not bool(condition):
        raise NotYet(message)


def expect_equal(actual, expected, what: str, hints: Hints | None = None) -> None:
    """Compare plain Python values (numbers, text, lists, dictionaries) with `==`."""
    expect_answer(actual, what)
    if type(actual) is type(expected) and actual == expected:
        return
    if isinstance(actual, torch.Tensor) and not isinstance(expected, torch.Tensor):
        raise NotYet(
            f"{what} is a tensor; want {_kind(expected)}. For one number, `.item()` gives it."
        )
    sequences = isinstance(actual, (list, tuple)) and isinstance(expected, (list, tuple))
    if sequences and type(actual) is not type(expected) and list(actual) == list(expected):
        raise NotYet(f"{what} is {_kind(actual)}; want {_kind(expected)}. The contents are right.")
    if not isinstance(actual, torch.Tensor) and actual == expected:
        if isinstance(actual, bool) != isinstance(expected, bool):
            raise NotYet(f"{what} is {_kind(actual)}; want {_kind(expected)}.")
        return
    _raise_hint(actual, what, hints, lambda value: type(value) is type(actual) and value == actual)
    raise NotYet(
        f"{what} is {_short(actual)}; want {_short(expected)}."
        + _first_difference(actual, expected)
    )


def expect_shape(actual, shape: tuple[int, ...], what: str) -> None:
    """Raise NotYet unless `actual` is a tensor of this shape."""
    expect_answer(actual, what)
    if not isinstance(actual, torch.Tensor):
        raise NotYet(f"{what} is {_kind(actual)}; want a torch.Tensor of shape {tuple(shape)}.")
    if tuple(actual.shape) == tuple(shape):
        return
    got, want = tuple(actual.shape), tuple(shape)
    extra = ""
    if len(got) == len(want) and sorted(got) == sorted(want):
        extra = " The sizes are right but in another order: did you forget a transpose?"
    elif got == () and want:
        extra = " You returned one number: did you reduce over every dimension? See `dim=`."
    elif len(got) == len(want) - 1:
        extra = " A dimension is missing: did a sum, mean or index remove it? See `keepdim=True`."
    elif len(got) == len(want) + 1:
        extra = " There is a dimension too many: did you forget to sum over one, or to `squeeze`?"
    raise NotYet(f"{what} has shape {got}; want {want}.{extra}")


def expect_dtype(actual: torch.Tensor, dtype: torch.dtype, what: str) -> None:
    """Raise NotYet unless `actual` has this dtype."""
    expect_answer(actual, what)
    got = getattr(actual, "dtype", None)
    if got != dtype:
        raise NotYet(
            f"{what} has dtype {got}; want {dtype}. See `.to({dtype})`, or how its inputs "
            "were made."
        )


def expect_finite(actual: torch.Tensor, what: str) -> None:
    """Raise NotYet if a value is NaN or infinite."""
    n_nan, n_inf = int(torch.isnan(actual).sum()), int(torch.isinf(actual).sum())
    if n_nan:
        raise NotYet(
            f"{what} has {n_nan} NaN among {actual.numel()} values. Look for 0/0, the "
            "logarithm of a "
            "negative number, or inf - inf (a row where everything is masked?)."
        )
    if n_inf:
        raise NotYet(
            f"{what} has {n_inf} infinite values among {actual.numel()}. Look for a division "
            "by zero, "
            "log(0), or an exp of a large number (subtract the maximum first)."
        )


def expect_close(
    actual, expected, what: str, hints: Hints | None = None, atol: float = 1e-5, rtol: float = 1e-4
) -> None:
    """Compare a tensor or number with the right one: kind, shape, dtype family, NaN, then values.

    actual: the learner's; expected: tensor or number, values of the same shape.
    hints: message -> a wrong answer that the message explains (tensor or number, same shape), or a
    function of `actual` that returns True where the message applies. The first hint that matches is
    shown. A message may hold "{sum}", "{mean}", "{min}" and "{max}": the statistics of the
    learner's values.
    """
    expect_answer(actual, what)
    expected = torch.as_tensor(expected)
    if isinstance(actual, (bool, int, float)) and expected.ndim == 0:
        actual = torch.as_tensor(actual)
    expect_shape(actual, tuple(expected.shape), what)
    if actual.is_floating_point() != expected.is_floating_point() and expected.ndim:
        raise NotYet(
            f"{what} has dtype {actual.dtype}; want {expected.dtype}. See `.to({expected.dtype})`."
        )
    values, target = actual.detach().cpu().double(), expected.detach().cpu().double()
    if torch.isfinite(target).all():
        expect_finite(values, what)
    close = torch.isclose(values, target, atol=atol, rtol=rtol, equal_nan=True)
    if bool(close.all()):
        return
    _raise_hint(actual, what, hints, lambda value: _same(value, values, atol, rtol))
    raise NotYet(_describe_difference(values, target, close, what))


def _same(value, values: torch.Tensor, atol: float, rtol: float) -> bool:
    other = torch.as_tensor(value).detach().cpu().double()
    return other.shape == values.shape and torch.allclose(
        values, other, atol=atol, rtol=rtol, equal_nan=True
    )


def _raise_hint(actual, what: str, hints: Hints | None, equal: Callable) -> None:
    for message, wrong in (hints or {}).items():
        if wrong(actual) if callable(wrong) else equal(wrong):
            raise NotYet(f"{what}: {_fill(message, actual)}")


def _fill(message: str, actual) -> str:
    if not isinstance(actual, torch.Tensor) or actual.numel() == 0:
        return message
    values = actual.detach().double()
    for name in ("sum", "mean", "min", "max"):
        message = message.replace("{" + name + "}", f"{getattr(values, name)().item():.3g}")
    return message


def _describe_difference(values, target, close, what: str) -> str:
    if values.ndim == 0:
        text = f"{what} is {values.item():.5g}; want {target.item():.5g}."
    else:
        index = tuple((~close).nonzero()[0].tolist())
        text = (
            f"{what} differs in {int((~close).sum())} of {close.numel()} values; the first is at "
            f"{list(index)}: got {values[index].item():.5g}, want {target[index].item():.5g}."
        )
    for message, wrong in (
        ("the sign is the other way round", -target),
        ("twice too large", 2 * target),
        ("half of what it should be", target / 2),
    ):
        if target.abs().max() > 0 and torch.allclose(values, wrong, atol=1e-8, rtol=1e-4):
            return f"{text} Everything is {message}."
    if (
        values.ndim == 2
        and values.shape[0] == values.shape[1]
        and torch.allclose(values, target.T, rtol=1e-4)
    ):
        return f"{text} It is the transpose of the right answer."
    return text


def _first_difference(actual, expected) -> str:
    if not (isinstance(actual, (list, tuple, str)) and isinstance(expected, (list, tuple, str))):
        return ""
    if len(actual) != len(expected):
        return f" Its length is {len(actual)}; want {len(expected)}."
    for position, (got, want) in enumerate(zip(actual, expected, strict=True)):
        if got != want:
            return f" The first difference is at position {position}: got {got!r}, want {want!r}."
    return ""


def _kind(value) -> str:
    return f"a {type(value).__name__}"


def _short(value, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"

"""The decorator that checks arguments, see `moe_lib.validation`."""

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable)


def checked(function: F) -> F:
    """Check the arguments of `function` by their annotations at every call; see this module."""
    if isinstance(function, type):  # a dataclass, or a class with an annotated __init__
        function.__init__ = checked(function.__init__)
        return function
    rules = None

    def check(args: tuple, kwargs: dict) -> tuple[list, dict]:
        nonlocal rules
        if rules is None:
            from moe_lib.validation.rules import Rules

            rules = Rules(function)
        return rules.check(args, kwargs)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args, **kwargs):
            args, kwargs = check(args, kwargs)
            return await function(*args, **kwargs)

    else:

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            args, kwargs = check(args, kwargs)
            return function(*args, **kwargs)

    return wrapper


def unchecked(function: Callable) -> list[str]:
    """The arguments of `function` that `checked` lets pass as they are: no annotation, `Any`, or
    one that could not be understood."""
    from moe_lib.validation.rules import Rules

    return Rules(inspect.unwrap(function)).unchecked

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

    def check(args: tuple, kwargs: dict) -> tuple[list, dict]:
        return _rules(function).check(args, kwargs)

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


def checked_value(name: str, value, hint):
    """`value`, checked as an argument called `name` with the annotation `hint` would be."""
    return _rule_of(hint)(name, value)


def checked_as_in(kind: type, values: dict) -> dict:
    """`values` as fields of these names of the checked dataclass `kind`: the same rules, the same
    errors. Names that it does not have pass as they are."""
    rules = _rules(inspect.unwrap(kind.__init__))
    known = {name: value for name, value in values.items() if name in rules.by_name}
    return values | rules.check((), known)[1]


def unchecked(function: Callable) -> list[str]:
    """The arguments of `function` that `checked` lets pass as they are: no annotation, `Any`, or
    one that could not be understood."""
    return _rules(inspect.unwrap(function)).unchecked


@functools.cache
def _rule_of(hint) -> Callable:
    from moe_lib.validation.rules import rule_of

    return rule_of(hint)


@functools.cache
def _rules(function: Callable):
    from moe_lib.validation.rules import Rules  # at the first call: importing a module is free

    return Rules(function)

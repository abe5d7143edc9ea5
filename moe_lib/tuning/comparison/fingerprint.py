"""What a function or an object computes with, as a short name: to tell a run of edited code from
one of the old.

By hand, because joblib.hash sees only a function's name (edited, it hashes as before) and refuses
lambdas and functions made inside others, which heads and measures mostly are.
"""

import dataclasses
import dis
import functools
import hashlib
import inspect
import re
from collections.abc import Mapping
from pathlib import PurePath
from types import CodeType, FunctionType

import torch
from torch import nn

PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...))
UNSEEN = {
    "__module__",
    "__doc__",
    "__firstlineno__",
}  # of a class: where it stands and what is said of it


def identity(thing) -> str:
    """16 hex digits that change with the code or the settings of `thing`, and not from one Python
    process to the next.

    Of a function, a lambda too: its compiled code, its defaults, what it closes over, and the
    numbers, texts, functions and classes of its own module that it names, with theirs. Comments and
    layout do not count; of other modules only the names do. Of a partial or a bound method also the
    arguments or the object. Of an object its class, and its fields, weights, repr or attributes.
    What is not written in Python counts by its name.
    """
    return hashlib.sha256(repr(_Reader().read(thing)).encode()).hexdigest()[:16]


class _Reader:
    """Takes a thing apart into nested lists of plain values."""

    def __init__(self):
        self.seen = {}  # id -> (number, the thing itself: while it lives, nothing else gets its id)

    def read(self, thing):
        if isinstance(thing, PLAIN):
            return thing
        if isinstance(thing, PurePath):
            return str(thing)
        if isinstance(thing, tuple):
            return [self.read(one) for one in thing]
        if isinstance(thing, frozenset):
            return sorted((self.read(one) for one in thing), key=repr)
        if isinstance(thing, CodeType):
            return [
                thing.co_code,
                *map(self.read, (thing.co_consts, thing.co_names, thing.co_varnames)),
            ]
        if id(thing) in self.seen:  # each once, so that circles end
            return ["as before", self.seen[id(thing)][0]]
        self.seen[id(thing)] = len(self.seen), thing
        return self._parts(thing)

    def _parts(self, thing):
        if isinstance(thing, list):
            return [self.read(one) for one in thing]
        if isinstance(thing, set):
            return sorted((self.read(one) for one in thing), key=repr)
        if isinstance(thing, Mapping):
            return [[self.read(key), self.read(value)] for key, value in thing.items()]
        if isinstance(thing, torch.Tensor):
            values = thing.detach().cpu().contiguous()
            digest = hashlib.sha256(
                values.reshape(-1).view(torch.uint8).numpy().tobytes()
            ).hexdigest()
            return [str(thing.dtype), list(thing.shape), digest]
        if isinstance(thing, functools.partial):
            return ["partial", *map(self.read, (thing.func, thing.args, thing.keywords))]
        if inspect.ismethod(thing):
            return ["method", self.read(thing.__func__), self.read(thing.__self__)]
        if inspect.isfunction(thing):
            return self._function(inspect.unwrap(thing))  # as written, without its checks
        if inspect.isclass(thing):
            return self._class(thing)
        return [self.read(type(thing)), self._state(thing)]

    def _function(self, function: FunctionType):
        """Its code, and what the code finds around it."""
        code, around = function.__code__, function.__globals__
        closed = [cell.cell_contents for cell in function.__closure__ or ()]
        named = {name: around[name] for name in sorted(_global_names(code)) if name in around}
        near = {
            name: value
            for name, value in named.items()
            if isinstance(value, PLAIN) or _is_of(function, value)
        }
        return [
            self.read(part)
            for part in (code, function.__defaults__, function.__kwdefaults__, closed, near)
        ]

    def _class(self, one: type):
        bases = [
            self.read(base) if _is_of(one, base) else base.__qualname__ for base in one.__bases__
        ]
        members = {
            name: self._member(value) for name, value in vars(one).items() if name not in UNSEEN
        }
        return [
            one.__qualname__,
            bases,
            [[name, value] for name, value in members.items() if value is not None],
        ]

    def _member(self, value):
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if isinstance(value, property):
            value = value.fget
        return self.read(value) if inspect.isfunction(value) or isinstance(value, PLAIN) else None

    def _state(self, thing):
        if dataclasses.is_dataclass(thing):
            return [self.read(getattr(thing, field.name)) for field in dataclasses.fields(thing)]
        if isinstance(thing, nn.Module):
            return [repr(thing), self.read(thing.state_dict())]
        if type(thing).__repr__ is object.__repr__ and hasattr(thing, "__dict__"):
            return self.read(vars(thing))
        return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def _is_of(one, other) -> bool:
    """Is `other` a function or a class of the same module?"""
    return (
        inspect.isfunction(other) or inspect.isclass(other)
    ) and other.__module__ == one.__module__


def _global_names(code: CodeType) -> set[str]:
    """Names that the code looks up in its module, and those that functions written inside it look
    up."""
    names = {
        one.argval
        for one in dis.get_instructions(code)
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    return names.union(
        *(_global_names(inner) for inner in code.co_consts if isinstance(inner, CodeType))
    )

"""From annotations to rules: what `moe_lib.validation.checked` does at the first call.

pydantic's core does the walking (it knows where in a list a value stands). Its ready-made types are
not used: they copy lists and dataclasses, take 1.0 for an int outside of strict mode, and say
"Input should be a valid integer".
"""

import collections.abc as abc
import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic_core import SchemaValidator, ValidationError
from pydantic_core import core_schema as core

from moe_lib.errors import refusal
from moe_lib.validation.blocks import Block, Choice, Finite, Flag, Text, whole

_BRANCH = "|"  # marks a place in pydantic's path to a value that is a branch of a union
_PLAIN = {int: Annotated[int, whole()], float: Finite, bool: Flag, str: Text}
_SEQUENCES = (list, tuple, abc.Sequence, abc.Collection, abc.Iterable)
_SETS = (set, frozenset, abc.Set)
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
_CONTAINERS = (*_SEQUENCES, *_SETS, *_MAPPINGS, abc.Iterator)


class Rules:
    """The rules of one function. unchecked: its arguments without one."""

    def __init__(self, function: Callable):
        self.positional: list[tuple[str, Callable | None]] = []
        self.by_name: dict[str, Callable | None] = {}
        self.rest = self.other = None  # of *args and **kwargs
        self.open = False  # for any names
        self.unchecked = []
        for name, parameter in inspect.signature(function).parameters.items():
            hint = _resolved(function, parameter.annotation)
            rule = None if _anything(hint) else rule_of(hint)
            if rule is None and name not in ("self", "cls"):
                self.unchecked.append(name)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.rest = rule and (name, rule)
            elif parameter.kind is parameter.VAR_KEYWORD:
                self.other, self.open = rule, True
            else:
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    self.positional.append((name, rule))
                if parameter.kind is not parameter.POSITIONAL_ONLY:
                    self.by_name[name] = rule

    def check(self, args: tuple, kwargs: dict) -> tuple[list, dict]:
        """The arguments as the function gets them. Too many or too few are Python's to refuse."""
        checked = list(args)
        for place, ((name, rule), value) in enumerate(zip(self.positional, args, strict=False)):
            if rule is not None:
                checked[place] = rule(name, value)
        if self.rest is not None:
            name, rule = self.rest
            for place in range(len(self.positional), len(args)):
                checked[place] = rule(f"{name}[{place - len(self.positional)}]", args[place])
        for name, value in kwargs.items():
            if not self.open and name not in self.by_name:
                known = ", ".join(one for one in self.by_name if one not in ("self", "cls"))
                wants = f"a name out of {known}" if known else "no argument by name"
                raise TypeError(refusal(name, value, wants))
            rule = self.by_name.get(name, self.other)
            if rule is not None:
                kwargs[name] = rule(name, value)
        return checked, kwargs


def _resolved(function: Callable, hint: Any) -> Any:
    """The annotation behind a text; Any where a name in it is known to type checkers only."""
    if hint is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"hint": hint})
    try:
        found = typing.get_type_hints(
            holder, getattr(inspect.unwrap(function), "__globals__", {}), include_extras=True
        )
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any
    return found["hint"]


def _anything(hint: Any) -> bool:
    return hint is Any or hint is object or isinstance(hint, TypeVar)


def rule_of(hint: Any) -> Callable[[str, Any], Any]:
    validate = SchemaValidator(_schema(hint)).validate_python
    converts = not _holds_others(hint)

    def rule(name: str, value: Any) -> Any:
        try:
            found = validate(value)
        except ValidationError as error:
            refusal = _refusal(name, error)
        else:
            return found if converts else value
        raise refusal

    return rule


def _holds_others(hint: Any) -> bool:
    """Is it a list or the like, or may it be one? Then the function gets the object itself."""
    if typing.get_origin(hint) is Annotated:
        return not _blocks(hint) and _holds_others(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (Union, types.UnionType):
        return any(_holds_others(one) for one in typing.get_args(hint))
    return (typing.get_origin(hint) or hint) in _CONTAINERS


def _blocks(hint: Any) -> list[Block]:
    return [extra for extra in hint.__metadata__ if isinstance(extra, Block)]


def _schema(hint: Any) -> core.CoreSchema:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if _anything(hint):  # from Python 3.11 on Any is a class
        return core.any_schema()
    if origin is Annotated:
        blocks = _blocks(hint)
        steps = [core.no_info_plain_validator_function(block) for block in blocks]
        return core.chain_schema(steps) if steps else _schema(inner[0])
    if hint in (None, type(None)):
        return core.none_schema()
    if origin in (Union, types.UnionType):
        return _union(inner)
    if origin is Literal:
        return _schema(Choice(*inner))
    if hint in _PLAIN:
        return _schema(_PLAIN[hint])
    kind = origin or hint
    if kind in _MAPPINGS:
        return _mapping(*(inner or (Any, Any)))
    if kind is tuple and inner and inner[-1:] != (...,):
        return _fixed(inner)
    if kind in _SEQUENCES:
        return _sequence(kind, inner[0] if inner else Any)
    if kind in _SETS:
        return _set(kind, inner[0] if inner else Any)
    if kind is abc.Callable:
        return _instance("a function", callable)
    if kind is type:
        return _instance("a class", lambda value: isinstance(value, type))
    if isinstance(kind, type) and not getattr(kind, "_is_protocol", False):
        article = "an" if kind.__name__[:1] in "AEIOU" else "a"
        return _instance(f"{article} {kind.__name__}", lambda value: isinstance(value, kind))
    return core.any_schema()


def _instance(wants: str, good: Callable[[Any], bool]) -> core.CoreSchema:
    def convert(value):
        if not good(value):
            raise TypeError
        return value

    return core.no_info_plain_validator_function(Block(wants, convert))


def _words(hint: Any) -> str:
    """What an entry of a container should be, in a few words."""
    if typing.get_origin(hint) is Annotated and _blocks(hint):
        return _blocks(hint)[0].wants
    if hint in _PLAIN:
        return _words(_PLAIN[hint])
    return getattr(hint, "__name__", "") if isinstance(hint, type) else ""


def _each(hint: Any) -> str:
    words = _words(hint)
    return f", each of it {words}" if words else ""


def _sequence(kind: type, item: Any) -> core.CoreSchema:
    """A list, tuple or other sequence; for the looser annotations any collection, or iterable."""
    wants, wanted = {
        abc.Collection: ("a list or another collection", abc.Collection),
        abc.Iterable: ("a list or another iterable", abc.Iterable),
    }.get(kind, ("a list or tuple", abc.Sequence))

    def convert(value):
        keyed = isinstance(value, (str, bytes, bytearray, abc.Mapping))  # its keys are not meant
        if keyed or not isinstance(value, wanted):
            raise TypeError
        # what can be read only once is left to the function
        return list(value) if isinstance(value, abc.Collection) else []

    outer = core.no_info_plain_validator_function(Block(wants + _each(item), convert))
    return outer if _anything(item) else core.chain_schema([outer, core.list_schema(_schema(item))])


def _fixed(items: tuple) -> core.CoreSchema:
    def convert(value):
        if not isinstance(value, (tuple, list)):
            raise TypeError
        return tuple(value)

    wants = f"a tuple of {len(items)}"
    outer = core.no_info_plain_validator_function(
        Block(wants, convert, lambda value: len(value) == len(items))
    )
    return core.chain_schema([outer, core.tuple_schema([_schema(item) for item in items])])


def _set(kind: type, item: Any) -> core.CoreSchema:
    outer = _instance("a set" + _each(item), lambda value: isinstance(value, kind))
    inner = core.no_info_plain_validator_function(list)
    return core.chain_schema([outer, inner, core.list_schema(_schema(item))])


def _mapping(key: Any, item: Any) -> core.CoreSchema:
    def convert(value):
        if not isinstance(value, abc.Mapping):
            raise TypeError
        return dict(value)

    outer = core.no_info_plain_validator_function(Block("a mapping (dict)", convert))
    return core.chain_schema([outer, core.dict_schema(_schema(key), _schema(item))])


def _union(hints: tuple) -> core.CoreSchema:
    ordered = sorted(hints, key=lambda hint: hint is not type(None))  # None first: it costs least
    choices = [(_schema(hint), f"{_BRANCH}{place}") for place, hint in enumerate(ordered)]
    return core.union_schema(choices, mode="left_to_right")


def _refusal(name: str, error: ValidationError) -> Exception:
    """Our words for what pydantic found: of all branches of a union those that came furthest."""
    found = [
        (tuple(step for step in entry["loc"] if not str(step).startswith(_BRANCH)), entry)
        for entry in error.errors(include_url=False)
    ]
    first = next((path[:1] for path, _ in found if path), ())
    found = [(path, entry) for path, entry in found if path[:1] == first or not path]
    depth = max(len(path) for path, _ in found)
    path = next(path for path, _ in found if len(path) == depth)
    here = [entry for other, entry in found if other == path]
    here = [entry for entry in here if entry["type"] == "value"] or here
    wants = list(dict.fromkeys("None" if e["type"] == "none_required" else e["msg"] for e in here))
    kind = ValueError if here[0]["type"] == "value" else TypeError
    if path and path[-1] == "[key]":
        path, name = path[:-2], f"a key of {name}"
    place = name + "".join(f"[{step!r}]" for step in path)
    return kind(refusal(place, here[0]["input"], " or ".join(wants)))

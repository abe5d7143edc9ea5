"""How wrong inputs are written down: a public function, a call that works, what it must refuse.

    ENTRIES = [
        Entry("moe_lib.text.pack", lambda: dict(rows=[[1, 2], [3]], sequence_length=4),
              {"sequence_length": COUNT, "rows": [None, 3, "text", [[1.5]]]}),
    ]

Every value stands alone in place of one argument of the call that works. The function must raise a
ValueError, a TypeError or, where a path is missing, an OSError, whose message names the argument
(or what is given instead of its name: a file, a field).
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

NAN, INF = math.nan, math.inf

# Values that are wrong wherever a kind of argument is asked for.
COUNT = [0, -1, 1.5, True, "3", None, NAN, [1]]
NATURAL = [-1, 0.5, False, "0", None, NAN, (0,)]
POSITIVE = [0, -0.5, True, "0.1", NAN, INF, -INF, [0.1]]
NON_NEGATIVE = [-0.5, True, "0", NAN, INF, [0.0]]
FINITE = [True, "0", NAN, INF, [0.0]]
SHARE = [-0.1, 1.1, True, "0.5", NAN, [0.5]]
FLAG = ["yes", 1, 0, 1.0, [True]]
TEXT = [3, None, b"bytes", ["a text"], "half a pair \ud800"]
TEXTS = ["one text", None, 3, [3], [None], ["half a pair \ud800"]]
CALLBACK = [3, "a name", [print]]
PATH = [None, 3, b"bytes", ["a"], 1.5]
MODEL = [None, "mini-v2", 3, {}]
TOKENIZER = [None, "mixture", 3, {}]


@dataclass(frozen=True)
class Entry:
    """One public function with what it must refuse.

    name     where it is imported from, e.g. "moe_lib.train" or "moe_lib.RoutingTrace.topk"
    valid    makes the arguments of a call that works, anew for every call
    wrong    argument -> wrong values (or functions that make one from the valid arguments)
    says     argument -> what the message names instead of the argument, e.g. a file
    call     makes the call from the arguments; by default function(**arguments)
    """

    name: str
    valid: Callable[[], dict[str, Any]]
    wrong: Mapping[str, Sequence[Any]]
    says: Mapping[str, str] = field(default_factory=dict)
    call: Callable[[dict[str, Any]], Any] | None = None

    def run(self, arguments: dict[str, Any]) -> Any:
        if self.call is not None:
            return self.call(arguments)
        return find(self.name)(**arguments)


@dataclass(frozen=True)
class Made:
    """A wrong value that is made from the valid arguments, e.g. a mask of another shape."""

    what: str
    make: Callable[[dict[str, Any]], Any]


def find(name: str) -> Any:
    """The object of a dotted name. A function comes before the module that it has its name from."""
    path, *parts = name.split(".")
    found = import_module(path)
    for part in parts:
        path += f".{part}"
        found = getattr(found, part) if hasattr(found, part) else import_module(path)
    return found


def cases(entries: Sequence[Entry]) -> list[tuple[str, Entry, str, Any]]:
    """(what pytest prints, entry, argument, wrong value) of every wrong call."""
    found = []
    for entry in entries:
        for argument, values in entry.wrong.items():
            for value in values:
                what = value.what if isinstance(value, Made) else shown(value)
                found.append((f"{entry.name}: {argument} {what}", entry, argument, value))
    return found


def shown(value: Any) -> str:
    """A short text for a test's name."""
    text = repr(value) if not callable(value) else getattr(value, "__name__", "a function")
    text = text.encode("ascii", "backslashreplace").decode()
    text = re.sub(r" at 0x[0-9a-f]+", "", text)  # an address is another one in every process
    return text if len(text) <= 40 else text[:37] + "..."

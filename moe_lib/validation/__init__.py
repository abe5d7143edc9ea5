"""Arguments of public functions, checked by their annotations.

How to use it
-------------
Put `@checked` on a function, a method or an `__init__` that people call from outside, and say in
the annotations what each argument may be:

    from moe_lib.validation import Callback, Choice, Count, PathLike, Share, Texts, checked

    @checked
    def train(steps: Count, dropout: Share = 0.0, texts: Texts | None = None,
              kind: Choice("mean", "last") = "mean", folder: PathLike | None = None,
              callback: Callback = None): ...

    train(2.5)             TypeError: steps: got 2.5; wants a whole number of at least 1
    train(0)               ValueError: steps: got 0; wants a whole number of at least 1
    train(1, 2)            ValueError: dropout: got 2; wants a finite number from 0 to 1
    train(1, texts="ab")   TypeError: texts: got 'ab'; wants None or a list or tuple, each of it a
                           text (str) without halves of surrogate pairs
    train(1, texts=["a", 3])   TypeError: texts[1]: got 3; wants a text (str) without halves of …

A wrong type is a TypeError, a wrong value a ValueError. Both give the argument, what it got and
what it wants, also inside lists and mappings (`labels[3]`, `off[2][0]`).

Plain annotations are enough for many arguments: `int` takes whole numbers (no bool, no 2.0),
`float` finite numbers, `bool` only True and False, `str` texts that can be written as UTF-8, a
class its instances; `X | None`, `Literal`, `list`, `tuple`, `Sequence`, `Mapping`, `Iterable`,
`set` of such things work as well. `list[…]`, `tuple[…]` and `Sequence[…]` take a list, a tuple or
any other sequence, never one text. Below are narrower blocks with plain names (Count, Natural,
Seed, Share, …), `whole(…)` and `number(…)` for other ranges (`Annotated[int, whole(2, 8)]`), and
`Block` for a rule of your own. What cannot be understood, such as a name imported for type checkers
only, is not checked; `unchecked(function)` lists these arguments, for tests.

The function gets the objects it was given. Only single numbers and token ids are turned into
Python's own (numpy's int64 into an int, a tensor of ids into a list), unless they stand in a list.

For tensors call `require_tensor` in the function's first lines; for what depends on several
arguments, `moe_lib.errors.require`. Functions that run in every layer or step stay without
`@checked`: a call costs about a microsecond, and one or two for each argument. Defaults are not
checked. What is read from a file is checked by `checked_value`, one value at a time. The rules are
built at the first call, so importing a module costs nothing.
Order: `@checked` goes above `@contextmanager` and `@torch.no_grad()`, and under `@classmethod` and
`@property`. `@checked` above `@dataclass` checks its fields.
"""

from moe_lib.validation.blocks import (
    Block,
    Callback,
    Choice,
    Count,
    Decoder,
    Finite,
    Flag,
    Name,
    Natural,
    NonNegative,
    PathLike,
    Positive,
    Seed,
    Share,
    Text,
    Texts,
    TokenIds,
    Tokenizer,
    number,
    whole,
    writable,
)
from moe_lib.validation.checking import checked, checked_value, unchecked
from moe_lib.validation.tensors import require_tensor

__all__ = [
    "Block",
    "Callback",
    "Choice",
    "Count",
    "Decoder",
    "Finite",
    "Flag",
    "Name",
    "Natural",
    "NonNegative",
    "PathLike",
    "Positive",
    "Seed",
    "Share",
    "Text",
    "Texts",
    "TokenIds",
    "Tokenizer",
    "checked",
    "checked_value",
    "number",
    "require_tensor",
    "unchecked",
    "whole",
    "writable",
]

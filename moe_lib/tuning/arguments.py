"""What functions of fine-tuning ask of their arguments, beside the blocks of `moe_lib.validation`:
models, batches, lists of lists, shares of classes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.modules import bare
from moe_lib.tuning.task_head import TaskHead
from moe_lib.validation import Block, number, require_tensor
from moe_lib.validation.blocks import only


def _inside(model: object) -> object:
    """The module behind torch.compile or peft, which both pass attributes through."""
    try:
        return bare(model)
    except ValueError:  # a prompt of peft in front of it, which would get lost
        return None


def is_list(value: object) -> bool:
    """A list, a tuple, an array, a column of a table: no text, no mapping, no number."""
    listed = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    listed = listed and not isinstance(value, str | bytes | bytearray | Mapping | nn.Module | type)
    return listed and getattr(value, "ndim", 1) > 0


Listed = Annotated[Sequence, Block("a list or the like", only(is_list))]
TextList = Annotated[Sequence, Block("a list of texts", only(is_list))]


def _device(value):
    if isinstance(value, bool):
        raise TypeError
    try:
        return value if isinstance(value, torch.device) else torch.device(value)
    except (RuntimeError, TypeError, ValueError):
        raise TypeError from None


# None: where the model or the checkpoint is
Device = Annotated[str | torch.device, Block("a device of torch", _device)] | None
# A LanguageModel, also behind torch.compile or in a PeftModel; or a task head as well.
Model = Annotated[
    Any,
    Block(
        "a moe_lib LanguageModel",
        only(lambda value: isinstance(_inside(value), LanguageModel)),
    ),
]
ModelOrHead = Annotated[
    Any,
    Block(
        "a LanguageModel or a task head",
        only(lambda value: isinstance(_inside(value), LanguageModel | TaskHead)),
    ),
]
Rate = Annotated[
    float,
    number(0, 1),
    Block("a finite number from 0 up to, not including, 1", lambda x: x, lambda x: x < 1),
]
Batch = Annotated[
    Mapping,
    Block(
        "a batch: a dict of tensors, with input_ids",
        only(lambda value: isinstance(value, Mapping)),
        lambda value: (
            "input_ids" in value and all(isinstance(part, Tensor) for part in value.values())
        ),
    ),
]


def checked_batches(batches: Iterable[Mapping[str, Tensor]]) -> Iterator[Mapping[str, Tensor]]:
    """The same batches, each looked at when its turn comes: a generator is read only once."""
    usable = isinstance(batches, Iterable) and not isinstance(batches, str | Mapping | Tensor)
    require(usable, "batches", batches, "an iterable of batches", TypeError)
    for number_, batch in enumerate(batches):
        name = f"batches[{number_}]"
        fits = isinstance(batch, Mapping) and all(isinstance(one, Tensor) for one in batch.values())
        require(fits, name, batch, "a dict of tensors", TypeError)
        require("input_ids" in batch, name, sorted(batch), "a batch with input_ids")
        yield batch


def require_list(argument: str, got: object, wants: str = "a list") -> None:
    """`got` must be a list, a tuple, an array or the like: no text, no mapping, no number."""
    require(is_list(got), argument, got, wants, TypeError)


def require_rows(argument: str, got: object, *names: str) -> None:
    """`got` must be a list of mappings that all have a text at each of `names`."""
    require_list(argument, got, "a list of rows")
    for place, row in enumerate(got):
        require(isinstance(row, Mapping), f"{argument}[{place}]", row, "a mapping", TypeError)
        for name in names:
            there = f"{argument}[{place}][{name!r}]"
            require(name in row, there, "nothing", "a text")
            text = row[name]
            require(isinstance(text, str) and text.strip() != "", there, text, "a text", TypeError)


def require_logits(argument: str, logits: object) -> None:
    """(n, K) floating-point numbers without NaN, n and K at least 1."""
    require_tensor(argument, logits, ("n", "K"), "floating")
    require(logits.numel() > 0, argument, tuple(logits.shape), "at least one number")
    require(not bool(logits.isnan().any()), argument, "a NaN", "numbers")


def require_batch(argument: str, batch: object, *names: str) -> None:
    """`batch` must be a dict of tensors with input_ids, and with all of `names`."""
    fits = isinstance(batch, Mapping) and all(isinstance(one, Tensor) for one in batch.values())
    require(fits, argument, batch, "a dict of tensors", TypeError)
    for name in ("input_ids", *names):
        require(name in batch, argument, sorted(batch), f"a batch with {name}")

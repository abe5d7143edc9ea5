"""What is compared: a task, and the ways to fine-tune on it."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from moe_lib.errors import require, require_takes
from moe_lib.model import LanguageModel
from moe_lib.training.evaluation import measure
from moe_lib.tuning.arguments import ModelOrHead
from moe_lib.tuning.examples import Encoded, Examples
from moe_lib.tuning.finetune import FineTuned, finetune
from moe_lib.validation import Count, Flag, Name, checked


@checked
def measure_rows(model: ModelOrHead, encoded: Encoded) -> dict[str, float]:
    """loss, and accuracy where a head has one: what a TuningTask measures if it does not say
    otherwise."""
    return measure(model, Examples(encoded, 64))


@checked
@dataclass(frozen=True)
class TuningTask:
    """What is learnt, and how it is measured.

    train, test, validation   Encoded rows; `validation` is watched while training (see finetune's
                              patience)
    make_head    base -> head; `lambda base: base` to fine-tune the language model itself, on
                 prompts
    measure      (model, Encoded) -> {"name": number}; called with the test rows and with rows
                 trained on. Rows of questions know theirs by row["example"]
    metric       the number of `measure` that matters; for a loss or an error set
                 higher_is_better=False
    batch_size   rows of a step
    """

    name: Name
    train: Encoded
    test: Encoded
    make_head: Callable[[LanguageModel], nn.Module]
    measure: Callable[[nn.Module, Encoded], dict[str, float]] = measure_rows
    metric: Name = "accuracy"
    higher_is_better: Flag = True
    validation: Encoded | None = None
    batch_size: Count = 16


@checked
@dataclass(frozen=True)
class Case:
    """One way to fine-tune. The same name may stand in several cases with different n_train.

    base       name or folder of a checkpoint, or a function that makes a new model (random numbers:
               the run's seed)
    method     as in finetune: has .attach(model); None trains everything
    n_train    so many labelled examples, drawn by the seed, every class with its share; None: all
    settings   for finetune (or `fit`): epochs or steps, learning_rate …
    make_head  instead of the task's: another dropout, say
    prepare    (Encoded, seed) -> Encoded: changes the rows drawn before they are trained on
               (augmentation)
    fit        stands in for finetune: (head, Examples, *, validation, method, seed, callback,
               **settings) -> FineTuned
    """

    name: Name
    base: str | Path | Callable[[], LanguageModel]
    method: object | None = None
    n_train: Count | None = None
    settings: Mapping = field(default_factory=dict)
    make_head: Callable[[LanguageModel], nn.Module] | None = None
    prepare: Callable[[Encoded, int], Encoded] | None = None
    fit: Callable[..., FineTuned] = finetune

    def __post_init__(self):
        require(self.base != "", "base", self.base, "a checkpoint's name, or a function")
        if callable(self.base):
            require_takes("base", self.base)
        require_takes("make_head", self.make_head, "a base")
        require_takes("prepare", self.prepare, "an Encoded", "a seed")
        fits = self.method is None or hasattr(self.method, "attach")
        require(
            fits, "method", type(self.method).__name__, "an object with .attach(model)", TypeError
        )
        allowed = set(inspect.signature(finetune).parameters) - {
            "model",
            "batches",
            "method",
            "seed",
            "callback",
        }
        unknown = sorted(set(self.settings) - allowed) if self.fit is finetune else []
        require(
            not unknown,
            f"settings of {self.name!r}",
            unknown,
            f"some of {', '.join(sorted(allowed))}",
        )

    def describe(self) -> dict:
        """What identifies the case, as JSON can hold it."""
        return {
            "base": name_of(self.base),
            "method": "full" if self.method is None else name_of(self.method),
            "settings": {
                name: value if isinstance(value, int | float | str | None) else name_of(value)
                for name, value in self.settings.items()
            },
            **{
                part: name_of(getattr(self, part))
                for part in ("make_head", "prepare")
                if getattr(self, part)
            },
            **({} if self.fit is finetune else {"fit": name_of(self.fit)}),
        }


def name_of(thing) -> str:
    """A name without an address in memory: those change from run to run."""
    if isinstance(thing, str | Path):
        return str(thing)
    return getattr(thing, "__qualname__", None) or re.sub(r" at 0x[0-9a-f]+", "", repr(thing))

"""What all methods of parameter-efficient tuning share: attach, switch off, merge, take off, save.

A method is a frozen dataclass of settings. `method.attach(model)` freezes the model, puts the
method's own parameters into it and returns an Attached, which knows how to undo all of that. One
model carries one method at a time.

A new method writes a Method with `count`, and an Attached (or `wrapping.Wrapped`, if it puts
modules around modules):

    class MyAttached(Attached):
        def _install(self): ...     # check first, then change self.model; what is trained gets
                                    # requires_grad
        def _remove(self): ...      # the model as it was; the caller restores requires_grad
        def _switch(self, on): ...  # off must be the base, bit for bit

    @dataclass(frozen=True)
    class MyMethod(Method):
        attached_class = MyAttached  # without a type annotation: a class attribute, not a setting
        length: int = 8

        def __post_init__(self):
            require_whole("length", self.length)

        def count(self, config):
            return 2 * config.num_hidden_layers * self.length * config.hidden_size
"""

import dataclasses
from pathlib import Path

from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require, require_bool
from moe_lib.files import write_folder, write_json, write_tensors
from moe_lib.model import LanguageModel
from moe_lib.training.checkpoint_checks import require_finite
from moe_lib.tuning.saving import fingerprint
from moe_lib.validation import PathLike, checked

KIND = "moe_lib adapter"
CARD = ("kind", "method", "settings", "base", "n_trainable")  # fields of adapter.json


class Attached:
    """A method on a model. Made by `Method.attach`.

    method, model   what was attached to what
    fingerprint     of the model before anything was attached: the base that this method belongs to
    """

    def __init__(self, method: "Method", model: LanguageModel):
        require(
            isinstance(model, LanguageModel),
            "model",
            type(model).__name__,
            "a moe_lib LanguageModel (of a head: head.base)",
            TypeError,
        )
        there = attached_to(model)
        require(
            there is None,
            "model",
            f"a model with {there.name if there else ''} attached",
            "a model without a method: detach() the other one, or merge_and_unload() it",
        )
        self.method, self.model = method, model
        self.fingerprint = fingerprint(model)
        self._enabled, self._merged, self._detached = True, False, False
        self._flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        model.requires_grad_(False)
        try:
            self._install()
        except Exception:
            self._restore_flags()
            raise
        self._trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        model._attached = (
            self  # a plain attribute: not in the state dict, and deepcopy copies it along
        )

    # what a method writes

    def _install(self) -> None:
        raise NotImplementedError

    def _remove(self) -> None:
        raise NotImplementedError

    def _switch(self, on: bool) -> None:
        raise NotImplementedError

    def _merge(self) -> None:
        raise ValueError(
            f"{self.name} cannot be merged: it is no change of the weights that the model has"
        )

    def _unmerge(self) -> None:
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """What `save` writes and `load_adapter` copies back, by name: the trained parameters,
        unless there is more."""
        return dict(self._trained)

    # called by finetune

    def extra_loss(self) -> Tensor | None:
        """Added to the loss of a training step; None: nothing."""
        return None

    def before_step(self, step: int, steps: int) -> None:
        """Called in training when the gradients stand, before the optimiser's step number `step`
        (from 0) of `steps`. Raises ValueError for a method that is merged or switched off: its
        parameters would not be trained."""
        self._require_live()
        require(not self._merged, "method", f"a merged {self.name}", "unmerge() before training")
        require(
            self._enabled,
            "method",
            f"a {self.name} that is switched off",
            "enabled = True before training",
        )

    def after_step(self, step: int, steps: int) -> None:
        """Called after the optimiser's step."""

    # what everybody uses

    @property
    def name(self) -> str:
        return type(self.method).__name__

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """The trained parameters by their name in the adapted model; the same while switched off or
        merged."""
        return dict(self._trained)

    @property
    def n_trainable(self) -> int:
        """Trained numbers of the base and the method (a task head comes on top)."""
        return sum(parameter.numel() for parameter in self._trained.values())

    @property
    def enabled(self) -> bool:
        return self._enabled

    @enabled.setter
    def enabled(self, on: bool) -> None:
        """False: the model computes exactly what the base did. Raises ValueError while merged or
        after detach."""
        require_bool("enabled", on)
        self._require_live()
        require(
            not self._merged,
            "enabled",
            on,
            f"a method that is not merged: {self.name} is part of the weights now",
        )
        if on != self._enabled:
            self._switch(on)
            self._enabled = on

    @property
    def merged(self) -> bool:
        return self._merged

    def merge(self) -> None:
        """Add the method to the base's weights: a plain model, as fast as the base. `unmerge` takes
        it out again, exactly. Raises ValueError where the method is no change of weights, is off,
        or is merged already."""
        self._require_live()
        require(
            not self._merged,
            "merge",
            f"a merged {self.name}",
            "a method that is not merged: it would count twice",
        )
        require(
            self._enabled, "merge", f"a {self.name} that is switched off", "enabled = True first"
        )
        self._merge()
        self._merged = True

    def unmerge(self) -> None:
        """The base's weights as they were, bit for bit, and the method beside them. ValueError if
        they were trained or changed meanwhile, or nothing is merged."""
        self._require_live()
        require(self._merged, "unmerge", f"a {self.name} that is not merged", "a merged method")
        self._unmerge()
        self._merged = False

    def merge_and_unload(self) -> LanguageModel:
        """Merge for good: the model is a plain one with changed weights, free to be trained, and
        this object is done. A merged method stays merged."""
        if not self._merged:
            self.merge()
        return self._let_go()

    def detach(self) -> LanguageModel:
        """Take the method off: the model, its weights and every requires_grad as they were before
        attach."""
        self._require_live()
        if self._merged:
            self.unmerge()
        self._remove()
        return self._let_go()

    @checked
    def attach(self, model: LanguageModel) -> "Attached":
        """Itself, if it is on this very model: so `finetune(..., method=attached)` trains on.
        ValueError otherwise."""
        self._require_live()
        require(
            model is self.model,
            "model",
            "another model",
            f"the model that this {self.name} is attached to",
        )
        require(not self._merged, "method", f"a merged {self.name}", "unmerge() before training")
        return self

    @checked
    def save(self, folder: PathLike) -> Path:
        """Write adapter.safetensors and adapter.json (method, settings, fingerprint of the base);
        returns the folder. Nothing of the base is written: `load_adapter` wants the same base."""
        self._require_live()
        tensors = self.tensors()
        require_finite("method", tensors)
        card = {
            "kind": KIND,
            "method": self.name,
            "settings": dataclasses.asdict(self.method),
            "base": self.fingerprint,
            "n_trainable": self._saved_numbers(),
        }

        def write(aside: Path) -> None:
            write_tensors(aside / "adapter.safetensors", tensors)
            write_json(aside / "adapter.json", card)

        write_folder(Path(folder), write)
        return Path(folder)

    def _saved_numbers(self) -> int:
        """Numbers that the saved method trains when it is read back."""
        return self.n_trainable

    def _let_go(self) -> LanguageModel:
        self._restore_flags()
        del self.model._attached
        self._detached = True
        return self.model

    def _restore_flags(self) -> None:
        for parameter, flag in self._flags:
            parameter.requires_grad_(flag)

    def _require_live(self) -> None:
        require(
            not self._detached,
            "method",
            f"a {self.name} that was taken off its model",
            "one that is attached",
        )


@dataclasses.dataclass(frozen=True)
class Method:
    """Settings of one method. Subclasses are frozen dataclasses whose fields JSON can hold (tuples
    become lists)."""

    attached_class = Attached  # no annotation: an attribute of the class, not a setting

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if "count" in vars(cls):  # a formula, which would go wrong in its depths
            cls.count = checked(cls.count)

    def attach(self, model: LanguageModel) -> Attached:
        """Freeze `model` and put the method into it, in place. Raises TypeError for anything but a
        LanguageModel, ValueError if a method is attached already, or as the method says."""
        return self.attached_class(self, model)

    def count(self, config: ModelConfig) -> int:
        """Trained numbers on a model of this config, by the method's formula: without building
        anything."""
        raise NotImplementedError


@checked
def attached_to(model: nn.Module) -> Attached | None:
    """The method that is on this model; on a deepcopy of it, the copy's own."""
    return getattr(model, "_attached", None)

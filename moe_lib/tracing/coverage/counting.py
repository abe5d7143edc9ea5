"""A model's parameters by kind: how many are adapted, trained, quantised, and which were
skipped."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from moe_lib.errors import require
from moe_lib.modules import bare
from moe_lib.tracing.coverage.kinds import KINDS, Kinds, base_name
from moe_lib.tracing.coverage.storage import n_weights, packed_buffers, quantised_format
from moe_lib.validation import checked

if TYPE_CHECKING:
    import pandas as pd

_COPIES = "modules_to_save"  # of peft: modules that are trained as a whole


@dataclass
class KindCoverage:
    """The parameters of one kind; numbers of weights, those of adapters apart.

    tensors     weight tensors of the model itself
    weights     weights in them
    adapted     weights that an adapter of peft changes, or trains a copy of
    added       weights of these adapters
    trained     weights with requires_grad, those of adapters included
    quantised   weights that are not stored as ordinary numbers
    formats     format -> weights of it
    skipped     names of tensors with neither adapter nor quantisation
    """

    kind: str
    tensors: int = 0
    weights: int = 0
    adapted: int = 0
    added: int = 0
    trained: int = 0
    quantised: int = 0
    formats: Counter = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Coverage:
    """`kinds`: a KindCoverage per kind of parameters that the model has, in the order of KINDS."""

    kinds: tuple[KindCoverage, ...]

    def kind(self, name: str) -> KindCoverage:
        """One of them. Raises ValueError for a kind that the model does not have."""
        found = [one for one in self.kinds if one.kind == name]
        require(bool(found), "kind", name, f"one of {[one.kind for one in self.kinds]}")
        return found[0]

    def frame(self) -> "pd.DataFrame":
        """A row per kind, and one of sums: kind, tensors, weights, adapted, added, trained,
        quantised, formats."""
        import pandas as pd

        numbers = ("tensors", "weights", "adapted", "added", "trained", "quantised")
        rows = [
            {"kind": one.kind}
            | {name: getattr(one, name) for name in numbers}
            | {"formats": ", ".join(sorted(one.formats))}
            for one in self.kinds
        ]
        table = pd.DataFrame(rows, columns=["kind", *numbers, "formats"])
        total = {"kind": "all", **table[list(numbers)].sum().to_dict(), "formats": ""}
        return pd.concat([table, pd.DataFrame([total])], ignore_index=True)

    def words(self) -> str:
        """Which kinds were adapted and quantised, wholly or in part, and which were skipped."""
        said = []
        for what in ("adapted", "quantised"):
            shares = [(one.kind, getattr(one, what), one.weights) for one in self.kinds]
            touched = [_part(*one) for one in shares if one[1]]
            if touched:
                skipped = [kind for kind, number, _ in shares if not number]
                said.append(f"{what.capitalize()}: {', '.join(touched)}.")
                said.append(f"Not {what}: {', '.join(skipped) or 'nothing'}.")
        return " ".join(said) or "Neither adapted by peft nor quantised."


def _part(kind: str, number: int, of: int) -> str:
    return kind if number == of else f"{kind} ({100 * number / of:.1f} % of its weights)"


@checked
def coverage(model: nn.Module) -> Coverage:
    """What peft adapted and what is quantised in `model`, by kind of parameter.

    model   a LanguageModel or a Mixture-of-Experts model of transformers, plain, quantised, or
            inside a PeftModel. torchao, bitsandbytes, GGUF, float8 and packed integers are told by
            class and type

    A kind's weights count as adapted where an adapter stands around the module that owns them, or
    around that one parameter. Tied weights count once. Raises TypeError for what is no model,
    ValueError for a prompt or prefix of peft, which stands in front of a model.
    """
    inner = bare(model)
    kinds, found = Kinds(model), {name: KindCoverage(name) for name in KINDS}
    adapters, seen = _adapted_modules(inner), set()
    for name, owner in inner.named_modules():
        base = base_name(name)
        for leaf, tensor in owner.named_parameters(recurse=False):
            if id(tensor) in seen:  # tied: counted where it stands first
                continue
            seen.add(id(tensor))
            full = f"{name}.{leaf}" if name else leaf
            plain = f"{base}.{leaf}" if base else leaf
            at = _adapter_of(full, adapters)
            if at is not None:
                _count_added(found, kinds, inner, at, full, tensor)
                continue
            one = found[kinds.of(plain, owner, tensor)]
            _count(one, plain, n_weights(tensor), quantised_format(tensor), tensor.requires_grad)
            if _is_adapted(full, adapters):
                one.adapted += n_weights(tensor)
                one.skipped = [other for other in one.skipped if other != plain]
        for leaf, number, words in packed_buffers(owner):
            plain = f"{base}.{leaf}"
            _count(found[kinds.of(plain, owner, None)], plain, number, words, False)
    return Coverage(tuple(one for one in found.values() if one.tensors))


def _count(one: KindCoverage, name: str, number: int, words: str, trained: bool) -> None:
    one.tensors += 1
    one.weights += number
    one.trained += number if trained else 0
    if words:
        one.quantised += number
        one.formats[words] += number
    else:
        one.skipped.append(name)


def _adapted_modules(inner: nn.Module) -> dict[str, nn.Module]:
    """Modules that peft put around others, by their full names."""
    return {
        name: module
        for name, module in inner.named_modules()
        if hasattr(module, "adapter_layer_names") or _COPIES in module._modules
    }


def _adapter_of(full: str, adapters: dict[str, nn.Module]) -> str | None:
    """The module of peft that brought the parameter of this name; None for the model's own."""
    for name, module in adapters.items():
        if full.startswith(f"{name}."):
            first = full.removeprefix(f"{name}.").split(".")[0]
            if first == _COPIES or first in getattr(module, "adapter_layer_names", ()):
                return name
    return None


def _is_adapted(full: str, adapters: dict[str, nn.Module]) -> bool:
    """Does an adapter change the model's own parameter of this name?"""
    for name, module in adapters.items():
        inside = full.removeprefix(f"{name}.") if full.startswith(f"{name}.") else ""
        path = inside.split(".")
        if path[0] == "original_module":
            return bool(module._modules[_COPIES])
        layers = [part for part in path if part != "base_layer"]
        only = getattr(module, "parameter_name", None)
        reaches = path[0] == "base_layer" and len(layers) == 1
        changes = only == layers[-1] if only is not None else layers[-1] != "bias"
        if reaches and changes and _has_adapter(module):
            return True
    return False


def _has_adapter(module: nn.Module) -> bool:
    names = getattr(module, "adapter_layer_names", ())
    return any(len(getattr(module, name, ())) > 0 for name in names)


def _count_added(found, kinds: Kinds, inner: nn.Module, at: str, full: str, tensor) -> None:
    """An adapter's parameters count for the kind of what they change."""
    module = inner.get_submodule(at)
    owner = bare(getattr(module, "original_module", module))
    leaf = getattr(module, "parameter_name", None) or full.rpartition(".")[2]
    kind = kinds.of(f"{base_name(at)}.{leaf}", owner, getattr(owner, leaf, None))
    found[kind].added += tensor.numel()
    found[kind].trained += tensor.numel() if tensor.requires_grad else 0

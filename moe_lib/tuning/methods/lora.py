"""LoRA: the change of a weight as a product of two thin matrices (Hu et al. 2021)."""

import math
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.model import LanguageModel, MoELayer, Routing
from moe_lib.model.experts import Experts
from moe_lib.shapes_only import shapes_only
from moe_lib.tuning.arguments import Rate
from moe_lib.tuning.methods.base import Method
from moe_lib.tuning.methods.wrapping import Wrapped, Wrapper
from moe_lib.validation import Count, Positive, Text, checked

GROUPS = ("attention", "dense_ffn", "shared", "experts")


class LoRALinear(Wrapper):
    """y = W x + (α/r) · B A x, with A (r, in) random and B (out, r) zero at the start: the base to
    begin with.

    x (..., in) -> (..., out). `weight` is the whole W + (α/r) B A: latent attention reads it when
    it generates.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float):
        super().__init__(base)
        self.A = nn.Parameter(torch.empty(rank, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))  # uniform in ±1/√in, as nn.Linear starts
        self.scale = alpha / rank
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return y + self.scale * (self.dropout(x) @ self.A.T @ self.B.T) if self.enabled else y

    def deltas(self) -> dict[str, Tensor]:
        return {"weight": self.scale * self.B @ self.A}

    @property
    def weight(self) -> Tensor:
        return self.base.weight + self.deltas()["weight"] if self.enabled else self.base.weight


class LoRAExperts(Wrapper):
    """A LoRA on each of the three matrices of every expert: gate, up and down.

    gate and up are stacked in gate_up_proj (E, 2I, d): A (E, 2, r, d), B (E, 2, I, r). Down: A (E,
    1, r, I), B (E, 1, d, r). The products are added to the matrices before the experts run.
    """

    def __init__(self, base: Experts, rank: int, alpha: float):
        super().__init__(base)
        n_experts, hidden, width = base.down_proj.shape
        self.A_gate_up = nn.Parameter(torch.empty(n_experts, 2, rank, hidden))
        self.B_gate_up = nn.Parameter(torch.zeros(n_experts, 2, width, rank))
        self.A_down = nn.Parameter(torch.empty(n_experts, 1, rank, width))
        self.B_down = nn.Parameter(torch.zeros(n_experts, 1, hidden, rank))
        for matrix in (self.A_gate_up, self.A_down):
            bound = 1 / math.sqrt(matrix.shape[-1])
            nn.init.uniform_(matrix, -bound, bound)
        self.scale = alpha / rank

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        return Experts.forward(
            self, x, routing
        )  # reads the two matrices below instead of the base's

    def deltas(self) -> dict[str, Tensor]:
        return {
            "gate_up_proj": self.scale * (self.B_gate_up @ self.A_gate_up).flatten(1, 2),
            "down_proj": self.scale * (self.B_down @ self.A_down).flatten(1, 2),
        }

    @property
    def gate_up_proj(self) -> Tensor:
        return (
            self.base.gate_up_proj + self.deltas()["gate_up_proj"]
            if self.enabled
            else self.base.gate_up_proj
        )

    @property
    def down_proj(self) -> Tensor:
        return (
            self.base.down_proj + self.deltas()["down_proj"]
            if self.enabled
            else self.base.down_proj
        )


class AttachedLoRA(Wrapped):
    def _wrap(self) -> dict[str, Wrapper]:
        method, modules = self.method, find_targets(self.model, self.method.targets)
        check_rank("rank", method.rank, modules)
        return {
            path: LoRAExperts(module, method.rank, method.alpha)
            if isinstance(module, Experts)
            else LoRALinear(module, method.rank, method.alpha, method.dropout)
            for path, module in modules.items()
        }


@checked
@dataclass(frozen=True)
class LoRA(Method):
    """rank      r: rows of A and columns of B
    alpha     α: the change is multiplied by α/r
    targets   which matrices: "attention", "dense_ffn", "shared", "experts" (each routed expert its
              own A and B), or patterns of module names, e.g. "layers.*.attention.q_proj"
    dropout   on what enters A, in training; not with "experts", whose changes are made before any
              token comes

    Trains r · (in + out) numbers per matrix. Raises ValueError for settings that do not fit, or a
    target that the model does not have.
    """

    attached_class = AttachedLoRA

    rank: Count = 8
    alpha: Positive = 16.0
    targets: tuple[Text, ...] = ("attention",)
    dropout: Rate = 0.0

    def __post_init__(self):
        check_targets(self.targets)
        fits = self.dropout == 0 or "experts" not in self.targets
        require(fits, "dropout", self.dropout, '0 with "experts" among the targets')

    def count(self, config: ModelConfig) -> int:
        return sum(
            self.rank * (rows + columns) for rows, columns in target_shapes(config, self.targets)
        )


def check_targets(targets: tuple[str, ...]) -> None:
    require(
        isinstance(targets, tuple) and len(targets) > 0,
        "targets",
        targets,
        "a tuple of names, not empty",
    )


def check_rank(argument: str, rank: int, modules: dict[str, nn.Module]) -> None:
    """ValueError for a rank above the smaller side of a matrix: no change of it has as high a
    rank."""
    for path, module in modules.items():
        stack = module.down_proj if isinstance(module, Experts) else module.weight
        most = min(stack.shape[-2:])
        require(rank <= most, argument, rank, f"at most {most}, the smaller side of {path}")


def find_targets(model: LanguageModel, targets: tuple[str, ...]) -> dict[str, nn.Module]:
    """Path -> nn.Linear or Experts, in the model's order. ValueError for a target that fits
    nothing, or too much."""
    found: dict[str, nn.Module] = {}
    for target in targets:
        matched = (
            _group(model, target)
            if target in GROUPS
            else {
                path: module
                for path, module in model.named_modules()
                if path and fnmatch(path, target)
            }
        )
        require(
            bool(matched),
            "targets",
            target,
            f"{', '.join(GROUPS)}, or a pattern of this model's module names",
        )
        for path, module in matched.items():
            fits = isinstance(module, nn.Linear | Experts) and not (
                path == "head" and model.config.tie_word_embeddings
            )
            require(
                fits,
                "targets",
                f"{target} ({path}: {type(module).__name__})",
                "nn.Linear layers or Experts, not the head that is the embedding too",
            )
        found |= matched
    return {path: module for path, module in model.named_modules() if path in found}


def _group(model: LanguageModel, group: str) -> dict[str, nn.Module]:
    found = {}
    for number, layer in enumerate(model.layers):
        forward = layer.feed_forward
        moe = isinstance(forward, MoELayer)
        if group == "experts":
            found |= {f"layers.{number}.feed_forward.experts": forward.experts} if moe else {}
            continue
        where, module = {
            "attention": ("attention", layer.attention),
            "dense_ffn": ("feed_forward", None if moe else forward),
            "shared": ("feed_forward.shared", forward.shared if moe else None),
        }[group]
        for name, linear in module.named_modules() if module is not None else ():
            if isinstance(linear, nn.Linear):
                found[f"layers.{number}.{where}.{name}"] = linear
    return found


def target_shapes(config: ModelConfig, targets: tuple[str, ...]) -> list[tuple[int, int]]:
    """(out, in) of every matrix that the targets name, each expert's three counted apart; nothing
    is allocated."""
    with shapes_only():
        model = LanguageModel(config)
    shapes = []
    for module in find_targets(model, targets).values():
        if isinstance(module, Experts):
            n_experts, hidden, width = module.down_proj.shape
            shapes += n_experts * [(width, hidden), (width, hidden), (hidden, width)]
        else:
            shapes.append(tuple(module.weight.shape))
    return shapes

"""AdaLoRA: LoRA in the form of a singular value decomposition, with a budget of ranks that moves to
where it matters (Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient
Fine-Tuning")."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.tuning.arguments import Rate
from moe_lib.tuning.methods.base import Method
from moe_lib.tuning.methods.lora import check_rank, check_targets, find_targets, target_shapes
from moe_lib.tuning.methods.wrapping import Wrapped, Wrapper
from moe_lib.validation import Count, Natural, NonNegative, Positive, Text, checked

INIT_STD = 0.02  # of P and Q, as in the authors' code and in peft


class SVDLinear(Wrapper):
    """y = W x + (α/r) · P Λ Q x: P (out, r), Λ the diagonal (r,), zero at the start, Q (r, in).

    A triplet is one column of P, its entry of Λ, one row of Q. `kept` (r,) bool: the triplets
    within the budget.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float):
        super().__init__(base)
        self.P = nn.Parameter(INIT_STD * torch.randn(base.out_features, rank))
        self.Lambda = nn.Parameter(torch.zeros(rank))
        self.Q = nn.Parameter(INIT_STD * torch.randn(rank, base.in_features))
        self.register_buffer("kept", torch.ones(rank, dtype=torch.bool))
        self.scale = alpha / rank  # of the first rank, also when fewer are left
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return (
            y + self.scale * ((self.dropout(x) @ self.Q.T * self.Lambda) @ self.P.T)
            if self.enabled
            else y
        )

    def deltas(self) -> dict[str, Tensor]:
        return {"weight": self.scale * (self.P * self.Lambda) @ self.Q}

    @property
    def weight(self) -> Tensor:
        return self.base.weight + self.deltas()["weight"] if self.enabled else self.base.weight

    def orthogonality(self) -> Tensor:
        """‖PᵀP − I‖ + ‖QQᵀ − I‖ (Frobenius): 0 if P and Q are as in a true decomposition."""
        identity = torch.eye(len(self.Lambda), device=self.P.device, dtype=self.P.dtype)
        return torch.linalg.norm(self.P.T @ self.P - identity) + torch.linalg.norm(
            self.Q @ self.Q.T - identity
        )


class Importance:
    """How much the loss depends on each number of a parameter, smoothed over steps (section 3.2,
    equations 8 to 10).

    sensitivity   I = |w · ∂L/∂w|: the change of the loss, to first order, if w were zero
    smoothed      Ī ← β1 Ī + (1 − β1) I
    uncertainty   Ū ← β2 Ū + (1 − β2) |I − Ī|
    score         s = Ī · Ū
    """

    def __init__(self, parameter: nn.Parameter, beta1: float, beta2: float):
        self.parameter, self.beta1, self.beta2 = parameter, beta1, beta2
        self.smoothed, self.uncertainty = (
            torch.zeros_like(parameter.data),
            torch.zeros_like(parameter.data),
        )

    @torch.no_grad()
    def see(self) -> None:
        """Take in the gradient that stands in the parameter now."""
        sensitivity = (self.parameter * self.parameter.grad).abs()
        self.smoothed = self.beta1 * self.smoothed + (1 - self.beta1) * sensitivity
        away = (sensitivity - self.smoothed).abs()
        self.uncertainty = self.beta2 * self.uncertainty + (1 - self.beta2) * away

    @property
    def score(self) -> Tensor:
        return self.smoothed * self.uncertainty


class AttachedAdaLoRA(Wrapped):
    def _wrap(self) -> dict[str, Wrapper]:
        method, modules = self.method, find_targets(self.model, self.method.targets)
        _require_linear(modules.values())
        check_rank("init_rank", method.init_rank, modules)
        return {
            path: SVDLinear(module, method.init_rank, method.alpha, method.dropout)
            for path, module in modules.items()
        }

    def _install(self) -> None:
        super()._install()
        betas = self.method.beta1, self.method.beta2
        self.importance = {
            path: [Importance(getattr(wrapper, part), *betas) for part in ("P", "Lambda", "Q")]
            for path, wrapper in self.wrappers.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | {
            f"{path}.kept": wrapper.kept for path, wrapper in self.wrappers.items()
        }

    def ranks(self) -> dict[str, int]:
        """Path of each matrix -> triplets that it keeps."""
        return {path: int(wrapper.kept.sum()) for path, wrapper in self.wrappers.items()}

    def scores(self) -> dict[str, Tensor]:
        """Path of each matrix -> (r,), one number per triplet: S_k = s(λ_k) + mean of s(P_·k) +
        mean of s(Q_k·)."""
        return {
            path: value.score + left.score.mean(0) + right.score.mean(1)
            for path, (left, value, right) in self.importance.items()
        }

    # called by finetune

    def extra_loss(self) -> Tensor:
        """orth_reg times the mean over all P and Q of ‖PᵀP − I‖ and ‖QQᵀ − I‖. The authors' code
        and peft have this form; the paper writes the sum of the squared norms."""
        terms = [wrapper.orthogonality() for wrapper in self.wrappers.values()]
        return self.method.orth_reg * sum(terms) / (2 * len(terms))

    def before_step(self, step: int, steps: int) -> None:
        """Weights and gradients belong to the same moment here. (peft and the authors' code look
        after the step: the gradient is then one step older than the weight.)"""
        super().before_step(step, steps)
        self.method.check_steps(steps)
        if step < steps - self.method.tfinal:
            for entries in self.importance.values():
                for entry in entries:
                    entry.see()

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Keep the triplets with the highest scores, over all matrices together; set λ of the
        others to zero.

        Their P and Q stay: between two cuts a λ may grow again, and the triplet may come back.
        After the last cut not.
        """
        method, last_cut = self.method, steps - self.method.tfinal
        cut = step == last_cut or (method.tinit < step < last_cut and step % method.deltaT == 0)
        if cut:
            budget = method.budget(step, steps, len(self.wrappers))
            scores = torch.cat(list(self.scores().values()))
            kept = torch.zeros_like(scores, dtype=torch.bool)
            kept[scores.argsort(descending=True, stable=True)[:budget]] = True
            for wrapper, part in zip(
                self.wrappers.values(), kept.split(method.init_rank), strict=True
            ):
                wrapper.kept.copy_(part)
        if cut or step > last_cut:
            for wrapper in self.wrappers.values():
                wrapper.Lambda[~wrapper.kept] = 0


@checked
@dataclass(frozen=True)
class AdaLoRA(Method):
    """init_rank, target_rank   mean rank of a matrix at the start, and at the end
    alpha         the change is multiplied by α / init_rank
    targets       as in LoRA, but not "experts"
    tinit         steps at the start with the whole budget
    tfinal        steps at the end with the final one, at least 1
    deltaT        steps between two cuts of the budget
    beta1, beta2  smoothing of sensitivity and uncertainty
    orth_reg      factor γ of the orthogonality loss (0.1 in the authors' code, 0.5 in peft)
    dropout       on what enters Q, in training

    Trains init_rank · (in + out + 1) numbers per matrix. Raises ValueError for settings that do not
    fit.
    """

    attached_class = AttachedAdaLoRA

    init_rank: Count = 12
    target_rank: Count = 8
    alpha: Positive = 16.0
    targets: tuple[Text, ...] = ("attention",)
    tinit: Natural = 10
    tfinal: Count = 20
    deltaT: Count = 5
    beta1: Rate = 0.85
    beta2: Rate = 0.85
    orth_reg: NonNegative = 0.1
    dropout: Rate = 0.0

    def __post_init__(self):
        fits = self.target_rank <= self.init_rank
        require(fits, "target_rank", self.target_rank, f"at most init_rank ({self.init_rank})")
        check_targets(self.targets)
        require(
            "experts" not in self.targets,
            "targets",
            self.targets,
            "matrices of nn.Linear, not the routed experts",
        )

    def count(self, config: ModelConfig) -> int:
        return sum(
            self.init_rank * (rows + columns + 1)
            for rows, columns in target_shapes(config, self.targets)
        )

    def budget(self, step: int, steps: int, n_matrices: int) -> int:
        """Triplets that all matrices together may keep at `step` (from 0) of `steps`: a cubic fall
        (equation 12).

        b0 up to tinit; then b1 + (b0 − b1) · (1 − (t − tinit) / (steps − tfinal − tinit))³; b1 for
        the last tfinal.
        """
        first, last = n_matrices * self.init_rank, n_matrices * self.target_rank
        if step <= self.tinit:
            return first
        left = 1 - (step - self.tinit) / (steps - self.tfinal - self.tinit)
        return int((first - last) * max(0.0, left) ** 3 + last)

    def check_steps(self, steps: int) -> None:
        fits = self.tinit + self.tfinal < steps
        require(
            fits,
            "steps",
            steps,
            f"more than tinit + tfinal ({self.tinit} + {self.tfinal}): the budget falls between",
        )


def _require_linear(modules) -> None:
    for module in modules:
        require(isinstance(module, nn.Linear), "targets", type(module).__name__, "nn.Linear layers")

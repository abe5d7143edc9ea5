"""A cure for uneven load, with its settings, as one value."""

from dataclasses import dataclass

from moe_lib.config import ModelConfig
from moe_lib.errors import require, require_number

CURES = {"none": "no cure", "auxiliary": "auxiliary loss", "bias": "bias"}
SCOPES = ("sequence", "batch")


@dataclass(frozen=True)
class Cure:
    """What balances the load of the experts in a training run.

    kind               "none"; "auxiliary": the expert balance loss with factor `alpha`, over each
                       "sequence" or the whole "batch" (`scope`); "bias": DeepSeek-V3's selection
                       bias, `bias_update_speed` per step
    Settings of the kinds that are not in use are kept for when they are.

    Raises ValueError or TypeError naming the setting.
    """

    kind: str = "none"
    alpha: float = 0.1
    scope: str = "sequence"
    bias_update_speed: float = 0.03

    def __post_init__(self):
        known = isinstance(self.kind, str) and self.kind in CURES
        require(known, "cure", self.kind, f"one of {', '.join(CURES)}")
        require(self.scope in SCOPES, "scope", self.scope, f"one of {', '.join(SCOPES)}")
        for name in ("alpha", "bias_update_speed"):
            require_number(name, getattr(self, name), at_least=0)

    def fields(self, config: ModelConfig) -> dict:
        """The cure as fields of a ModelConfig like `config`. ValueError if its router does not go
        with the cure."""
        has_bias = "bias_update_speed" in config.router_class.balanced_by
        require(
            self.kind != "bias" or has_bias,
            "cure",
            self.kind,
            f'"none" or "auxiliary" with router "{config.router}", which has no selection bias',
        )
        alpha = self.alpha if self.kind == "auxiliary" else 0.0
        fields = {"aux_loss_alpha": alpha, "seq_aux": self.scope == "sequence"}
        if has_bias:
            fields["bias_update_speed"] = self.bias_update_speed if self.kind == "bias" else 0.0
        config.replace(**fields)  # raises for what does not go together
        return fields


def cure_words(settings: dict) -> str:
    """What balances the load under these fields of a ModelConfig, e.g. "auxiliary loss 0.1 per
    sequence"."""
    parts = []
    if alpha := settings.get("aux_loss_alpha"):
        parts.append(
            f"auxiliary loss {alpha:g} per "
            f"{'sequence' if settings.get('seq_aux', True) else 'batch'}"
        )
    if speed := settings.get("bias_update_speed"):
        parts.append(f"bias, speed {speed:g}")
    return " and ".join(parts) or "no cure"

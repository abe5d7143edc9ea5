"""What a change of a model did to its routing on a text."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.tracing.capture import trace_routing
from moe_lib.tracing.routed_tokens import routed_tokens
from moe_lib.tracing.trace import RoutingTrace
from moe_lib.validation import checked

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("layer", "tokens", "changed_choices", "changed_tokens", "load_distance")


@checked
def changed_choices(before: RoutingTrace, after: RoutingTrace) -> "pd.DataFrame":
    """Two traces of the same tokens, a row per layer: layer; tokens; changed_choices, the share of
    the choices (token, expert) of `before` that `after` does not make; changed_tokens, the share of
    tokens with one such choice at least; load_distance, the total variation distance of the
    experts' shares of all choices, 0 to 1.

    Raises ValueError for other tokens, other layers, or other numbers of experts.
    """
    import pandas as pd

    same = torch.equal(before.input_ids, after.input_ids) and torch.equal(before.real, after.real)
    require(same, "after", "other tokens", "a trace of the tokens of before")
    outlines = [[(one.index, one.n_experts) for one in part.layers] for part in (before, after)]
    require(outlines[0] == outlines[1], "after", outlines[1], f"the layers {outlines[0]}")
    rows = []
    for old, new in zip(before.layers, after.layers, strict=True):
        real = routed_tokens(before, old) & routed_tokens(after, new)
        one, other = old.experts[real], new.experts[real]  # (tokens, k) each
        lost = ~(one[:, :, None] == other[:, None, :]).any(-1)
        loads = [torch.bincount(part.flatten(), minlength=old.n_experts) for part in (one, other)]
        shares = [load / max(1, int(load.sum())) for load in loads]
        distance = float((shares[0] - shares[1]).abs().sum() / 2)
        shared = (float(lost.float().mean()), float(lost.any(-1).float().mean()))
        rows.append((old.index, len(one), *shared, distance))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


@checked
def changed_by_adapter(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None
) -> "pd.DataFrame":
    """`changed_choices` of a PeftModel: without its adapters, and with them.

    Raises TypeError for a model without adapters of peft, and what `trace_routing` raises.
    """
    known = hasattr(model, "disable_adapter") and hasattr(model, "peft_config")
    require(known, "model", type(model).__name__, "a PeftModel", TypeError)
    with model.disable_adapter():
        before = trace_routing(model, input_ids, attention_mask)
    return changed_choices(before, trace_routing(model, input_ids, attention_mask))


def changed_words(table: "pd.DataFrame") -> str:
    """`changed_choices` in one sentence."""
    if not len(table) or not table["changed_choices"].any():
        return "No token changes an expert in any layer."
    most = table.loc[table["changed_choices"].idxmax()]
    return (
        f"{100 * table['changed_choices'].mean():.1f} % of all choices change, most in layer "
        f"{int(most['layer'])}: {100 * most['changed_choices']:.1f} % of its choices, in "
        f"{100 * most['changed_tokens']:.1f} % of its tokens."
    )

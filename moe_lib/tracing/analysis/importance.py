"""What a model loses without an expert: its loss on each text, with and without."""

from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.modules import as_written, bare, eval_mode
from moe_lib.tracing.interventions.switching_off import experts_off
from moe_lib.tracing.traced_inputs import check_ids
from moe_lib.validation import checked

_ROWS = 32  # texts per pass


@checked
@torch.no_grad()
def text_losses(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of a causal model on each text: (sum in nats (batch,) float64, predicted tokens
    (batch,) int64).

    Sums and numbers, not means: texts differ in length, so a mean over several texts is Σ sums / Σ
    numbers. Raises TypeError for another model, ValueError for a masked one.
    """
    model = bare(model)
    wants = "a moe_lib LanguageModel"
    require(isinstance(model, LanguageModel), "model", type(model).__name__, wants, TypeError)
    check_ids(model, input_ids, attention_mask)
    require(model.config.causal, "model", "a masked model", "a causal one")
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    sums = []
    with eval_mode(model), as_written():
        for ids, real in zip(input_ids.split(_ROWS), mask.bool().split(_ROWS), strict=True):
            ids, real = ids.to(model.device), real.to(model.device)
            logits = model(ids, real).logits[:, :-1].float()
            loss = F.cross_entropy(
                logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
            ).view(len(ids), -1)
            sums.append((loss * (real[:, 1:] & real[:, :-1])).cpu().double().sum(1))
    predicted = (mask[:, 1:].bool() & mask[:, :-1].bool()).sum(1).cpu()
    return torch.cat(sums), predicted


@checked
def rises_without(
    model: nn.Module,
    off: Iterable[Mapping[int, Iterable[int]]],
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    progress: Callable = iter,
) -> Tensor:
    """By how many nats each text's loss rises without some experts: (sets, batch) float64, sums
    over its tokens.

    off       sets of experts, each {layer: experts} as for `experts_off`: each token takes its next
              best instead
    progress  wraps the sets as they are gone through, e.g. `tqdm`

    Raises as `text_losses` and `experts_off`.
    """
    before, _ = text_losses(model, input_ids, attention_mask)
    rises = []
    for experts in progress(list(off)):
        with experts_off(model, experts):
            rises.append(text_losses(model, input_ids, attention_mask)[0] - before)
    return torch.stack(rises) if rises else torch.empty(0, len(before), dtype=torch.float64)

"""A model with its own routing, and the same model with that of a trace: training against serving.

Serving and training engines compute the same model with other kernels, and so send some tokens to
other experts; the policy that a reinforcement learner trains is then not the one that wrote the
text. Replaying the recorded choices takes that difference away (arXiv 2510.11370).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.tracing.capture import run_as_read, traced_forward
from moe_lib.tracing.replay.forcing import forced_routing
from moe_lib.tracing.routed_tokens import routed_tokens
from moe_lib.tracing.trace import UNKNOWN_TOKEN, LayerTrace, RoutingTrace
from moe_lib.tracing.traced_inputs import check_ids, plain_model
from moe_lib.validation import checked, require_tensor

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LayerReplay:
    """One layer: how far the model's own choice is from that of the trace, 0 to 1 each.

    changed_choices  share of the trace's choices (token, expert) that the model does not make
    changed_tokens   share of tokens with at least one such choice
    """

    index: int
    changed_choices: float
    changed_tokens: float


@dataclass(frozen=True)
class Replay:
    """What forcing the routing of a trace on a model changes.

    layers               a LayerReplay per layer of the trace: the model left to itself against it
    input_ids            (batch, sequence) int64, what was read
    predicted            (batch, sequence) bool: tokens that the model predicts from others
    free_log_probs       (batch, sequence) float32, natural logarithm of the probability of the
                         token at each place, the model choosing for itself; 0 where not predicted
    forced_log_probs     the same with the experts of the trace
    """

    layers: tuple[LayerReplay, ...]
    input_ids: Tensor
    predicted: Tensor
    free_log_probs: Tensor
    forced_log_probs: Tensor

    @property
    def differences(self) -> Tensor:
        """(predicted tokens,) forced less free log-probability, in nats."""
        return (self.forced_log_probs - self.free_log_probs)[self.predicted]

    @property
    def mean_difference(self) -> float:
        """Mean of `differences`; NaN where nothing is predicted."""
        return float(self.differences.mean())

    @property
    def mean_absolute_difference(self) -> float:
        return float(self.differences.abs().mean())

    @property
    def largest_difference(self) -> float:
        """The largest absolute difference; 0 where nothing is predicted."""
        return float(self.differences.abs().max()) if self.differences.numel() else 0.0

    def frame(self) -> "pd.DataFrame":
        """A row per layer: layer, changed_choices, changed_tokens."""
        import pandas as pd

        rows = [(one.index, one.changed_choices, one.changed_tokens) for one in self.layers]
        return pd.DataFrame(rows, columns=["layer", "changed_choices", "changed_tokens"])


@checked
@torch.no_grad()
def replay_routing(
    model: nn.Module,
    trace: RoutingTrace,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> Replay:
    """Let a causal `model` read a text twice: by its own routing, and by that of `trace`.

    input_ids       (batch, sequence) as in the trace, or one token more: the last one that an
                    engine wrote and never read; None: those of the trace
    attention_mask  like input_ids, 1 at real tokens; None: where the trace has real tokens, and
                    one more each where input_ids has

    Weights are recomputed from the model's own scores: see `forced_routing`, which also says what
    raises ValueError. So do tokens that are not the trace's, unknown ones (-1 in a trace of an
    engine) without input_ids, and a model that gives no logits.
    """
    inner = plain_model(model)
    ids, mask = _inputs(trace, input_ids, attention_mask)
    check_ids(inner, ids, mask)
    causal = getattr(inner.config, "causal", True)
    require(causal, "model", "a masked model", "a causal one, which predicts each token")
    with forced_routing(model, trace):  # first: it checks the trace
        forced = _log_probs(run_as_read(inner, ids, mask), ids)
    read, output = traced_forward(inner, ids, mask)
    free = _log_probs(output, ids)
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    predicted = torch.zeros_like(real)
    predicted[:, 1:] = real[:, 1:] & real[:, :-1]
    layers = tuple(
        _compared(layer, read.layer(layer.index), routed_tokens(trace, layer))
        for layer in trace.layers
    )
    free, forced = (part.masked_fill(~predicted, 0) for part in (free, forced))
    return Replay(layers, ids, predicted, free, forced)


def _inputs(trace: RoutingTrace, ids: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    known = trace.input_ids
    batch, length = known.shape
    if ids is None:
        unknown = bool((known == UNKNOWN_TOKEN)[trace.real].any())
        wants = "the token ids: the trace does not know all of them"
        require(not unknown, "input_ids", None, wants)
        ids = known.masked_fill(~trace.real, 0)
    require_tensor("input_ids", ids, ("batch", "sequence"), "whole")
    ids = ids.cpu()
    fits = ids.shape in ((batch, length), (batch, length + 1))
    wants = f"({batch}, {length}) as in the trace, or ({batch}, {length + 1})"
    require(fits, "input_ids", tuple(ids.shape), wants)
    there = trace.real & (known != UNKNOWN_TOKEN)
    same = torch.equal(ids[:, :length][there], known[there])
    require(same, "input_ids", "other tokens than the trace's", "the tokens of the trace")
    if mask is None:
        longer = torch.ones_like(ids[:, length:], dtype=torch.bool)
        mask = torch.cat((trace.real, longer & trace.real[:, -1:]), 1).long()
    return ids, mask


def _log_probs(output, ids: Tensor) -> Tensor:
    """(batch, sequence) of the tokens that stand there; 0 at the first."""
    logits = getattr(output, "logits", None)
    require(logits is not None, "model", "no logits", "a model that predicts tokens")
    log_probs = logits[:, :-1].float().log_softmax(-1).cpu()
    found = log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1)
    return torch.cat((torch.zeros(len(ids), 1), found), dim=1)


def _compared(given: LayerTrace, own: LayerTrace, real: Tensor) -> LayerReplay:
    made = own.experts[:, : real.shape[1]][real]  # (tokens, k)
    new = ~(given.experts[real][:, :, None] == made[:, None, :]).any(-1)
    return LayerReplay(given.index, float(new.float().mean()), float(new.any(-1).float().mean()))

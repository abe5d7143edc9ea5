"""How the routers of transformers' Mixture-of-Experts families say what they chose.

Most give (logits, weights, indices) and hand both to an experts module:
`moe_lib.tracing.hugging_face` reads them there. The families in `ADAPTERS` do it another way, each
in its own; one function each turns what their module returns into a `Choice`. Read from
transformers 5.23.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.modules import bare


@dataclass(frozen=True)
class Choice:
    """What one MoE layer chose in one call. `tokens` is batch · sequence, in that order.

    experts    (tokens, k) int64
    weights    (tokens, k) float, what multiplies each expert's output
    n_experts  E
    logits     (tokens, E or more) float, or None where the model does not show them
    kept       (tokens, k) bool or None, False where a capacity limit dropped the pair
    chosen     (tokens, k) bool or None, False where the column holds no choice
    """

    experts: Tensor
    weights: Tensor
    n_experts: int
    logits: Tensor | None = None
    kept: Tensor | None = None
    chosen: Tensor | None = None


def llama4(router: nn.Module, output: tuple) -> Choice:
    """Llama 4: (sigmoid scores, 0 where not chosen, and logits), both over all experts.

    The weight multiplies the expert's input, not its output.
    """
    scores, logits = output
    experts = logits.topk(router.top_k, dim=-1).indices
    agrees = (scores > 0).sum(-1).eq(router.top_k).all() and (scores.gather(1, experts) > 0).all()
    require(
        bool(agrees), "model", "scores and logits that name different experts", "a Llama 4 router"
    )
    return Choice(experts, scores.gather(1, experts), logits.shape[-1], logits)


def jetmoe(router: nn.Module, output: tuple) -> Choice:
    """JetMoE: the pairs of token and expert, sorted by expert: their places, tokens, weights; the
    loads; the logits."""
    places, tokens, gates, loads, logits = output
    k, flat = router.top_k, torch.empty_like(places)
    flat[places] = torch.repeat_interleave(
        torch.tensor(loads, device=places.device)
    )  # expert of each sorted pair
    weights = torch.empty_like(gates)
    weights[places] = gates
    require(torch.equal(tokens, places // k), "model", "pairs of other tokens", "a JetMoE router")
    return Choice(flat.view(-1, k), weights.view(-1, k), logits.shape[-1], logits)


def switch(router: nn.Module, output: tuple) -> Choice:
    """Switch Transformer: one-hot experts (batch, sequence, E), all 0 where a full expert dropped
    the token."""
    one_hot, probability, logits = (part.flatten(0, 1) for part in output)
    experts = logits.argmax(-1, keepdim=True)
    kept = one_hot.gather(1, experts).bool()
    require(
        bool((one_hot.sum(-1, keepdim=True) == kept).all()),
        "model",
        "one-hot experts that are not the likeliest",
        "a Switch router",
    )
    return Choice(experts, probability, logits.shape[-1], logits, kept)


def nllb(router: nn.Module, output: tuple) -> Choice:
    """NLLB-MoE: the 0/1 mask of the first choice and the weights of both choices, over all experts.

    The experts of transformers 5.23 read the mask's 0 and 1 as the numbers of the experts: expert 1
    gets every token, with the weight of its first choice, expert 0 with that of its second. The
    trace holds what runs.
    """
    mask, weights, logits = output
    first = weights.gather(1, logits.argmax(-1, keepdim=True))
    second = weights.sum(-1, keepdim=True) - first
    experts = torch.stack(
        (mask.amax(-1), torch.zeros_like(mask[:, 0])), dim=-1
    )  # a dropped first choice: 0 as well
    return Choice(experts, torch.cat((first, second), -1), logits.shape[-1], logits)


def doge(layer: nn.Module, output: tuple) -> Choice:
    """Doge: product keys. An expert is a pair of keys, its logit their sum; the layer gives the
    keys' logits."""
    x, y = output[1].float()  # (tokens, keys) each
    logits = (x[..., :, None] + y[..., None, :]).flatten(1)
    top = logits.topk(layer.top_k, dim=-1)
    weights = top.values.softmax(-1)
    return Choice(top.indices, weights, logits.shape[-1], logits)


# class of the module that is watched -> how to read what it returns
ADAPTERS: dict[str, Callable[[nn.Module, tuple], Choice]] = {
    "Llama4Router": llama4,
    "JetMoeTopKGating": jetmoe,
    "SwitchTransformersTop1Router": switch,
    "NllbMoeTop2Router": nllb,
    "DogeCDMoE": doge,
}


def scale_after(block: nn.Module) -> float:
    """What some blocks multiply the sum of their experts with, so that the weight of an expert is
    its true one."""
    name = type(block).__name__
    if name in (
        "BeamMoE",
        "LagunaSparseMoeBlock",
        "MiniMaxM3VLSparseMoeBlock",
        "Step3p7SparseMoeBlock",
    ):
        return float(block.routed_scaling_factor)
    if name == "OpenAIPrivacyFilterMLP":
        return float(block.num_experts)  # it divided by as many before
    if name == "NllbMoeSparseMLP":  # dropout of whole experts, which stays as a factor in eval mode
        return 1.0 if block.training else 1.0 - bare(block.experts).moe_token_dropout
    if name == "Cohere2MoeSparseMoeBlock" and block.num_shared_experts > 0:
        return 0.5 if block.shared_expert_combination_strategy == "average" else 1.0
    return 1.0


def without_skipped(choice: Choice) -> Choice:
    """ZAYA's extra "skip" expert shows as expert 0 with weight 0: that is no choice."""
    return replace(choice, chosen=choice.weights != 0)


def affinities(choice: Choice) -> Tensor:
    """(tokens, E) float32: softmax, sigmoid or sqrt(softplus) of the logits, whichever the weights
    come from.

    That is the one whose values at the chosen experts are proportional to their weights, in every
    token. Where none is, softmax. Logits that are probabilities already stay as they are. Without
    logits: the weights, 0 elsewhere.
    """
    experts, weights = choice.experts, choice.weights.float()
    if choice.logits is None:
        return torch.zeros(len(experts), choice.n_experts, device=weights.device).scatter(
            1, experts, weights
        )
    logits = choice.logits.float()
    if bool((logits >= 0).all()) and torch.allclose(
        logits.sum(-1), torch.ones(len(logits)).to(logits), atol=1e-3
    ):
        return logits[:, : choice.n_experts]
    candidates = (logits.softmax(-1), logits.sigmoid(), F.softplus(logits).sqrt())
    for scores in candidates:
        if _proportional(weights, scores.gather(1, experts)):
            return scores[:, : choice.n_experts]
    return candidates[0][:, : choice.n_experts]


def _proportional(weights: Tensor, scores: Tensor, tolerance: float = 0.02) -> bool:
    """Is weight / score the same for all experts of a token (or of all tokens, where each has
    one)?"""
    used = weights != 0
    ratio = torch.where(used, weights / scores.clamp(min=1e-20), torch.nan)
    ratio = ratio.flatten()[None] if weights.shape[-1] == 1 else ratio
    middle = ratio.nanmedian(-1, keepdim=True).values
    return bool(((ratio - middle).abs() <= tolerance * middle.abs())[~ratio.isnan()].all())


def warn_of_nllb(model: nn.Module) -> None:
    if any(type(module).__name__ == "NllbMoeTop2Router" for module in model.modules()):
        warnings.warn(
            "NLLB-MoE in transformers 5.23 runs experts 0 and 1 only, whatever its router chooses; "
            "the trace shows what runs, its scores what the router wanted",
            stacklevel=6,  # whoever called trace_routing
        )

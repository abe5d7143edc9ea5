"""Our own routing in the fields of the serving engines: for what reads theirs."""

import base64

import numpy as np
import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.routed_tokens import routed_tokens
from moe_lib.tracing.trace import UNKNOWN_TOKEN, RoutingTrace
from moe_lib.validation import Natural, checked, require_tensor


@checked
def to_vllm(trace: RoutingTrace, ids: Tensor | None = None, n_prompt: Natural = 0) -> list[dict]:
    """A trace as the answers of vLLM, one per text: `prompt_token_ids`, `prompt_routed_experts`
    (nested lists: tokens, MoE layers, k) and one choice with `token_ids` and `routed_experts`.

    ids       (batch, sequence or one more), as `trace_generation` returns them: the last token
              written, which nobody read; None: the trace's own. Known ids must be the trace's
    n_prompt  tokens of each prompt, padding left out of them

    vLLM's numbers say neither layers, which are counted over those with experts, nor weights;
    padding is left out. Raises ValueError for layers with different k, dropped or missing choices,
    and prompts longer than a text.
    """
    answers = []
    for tokens, experts in _texts(trace, ids, n_prompt):
        own = {
            "index": 0,
            "token_ids": tokens[n_prompt:],
            "routed_experts": experts[n_prompt:].tolist(),
        }
        answer = {"choices": [own]}
        if n_prompt:
            answer |= {
                "prompt_token_ids": tokens[:n_prompt],
                "prompt_routed_experts": experts[:n_prompt].tolist(),
            }
        answers.append(answer)
    return answers


@checked
def to_sglang(trace: RoutingTrace, ids: Tensor | None = None, n_prompt: Natural = 0) -> list[dict]:
    """A trace as the native answers of SGLang, one per text: `output_ids`, and in `meta_info` the
    number and ids of the prompt's tokens and `routed_experts`, base64 of int32 (tokens · MoE layers
    · k) in a row.

    The arguments, and what raises ValueError, are those of `to_vllm`. To read it, `from_sglang`
    needs n_layers or config, as for SGLang's own answers, and k where there is no prompt.
    """
    answers = []
    for tokens, experts in _texts(trace, ids, n_prompt):
        packed = base64.b64encode(experts.numpy().astype("<i4").tobytes()).decode("ascii")
        facts = {
            "prompt_tokens": n_prompt,
            "completion_tokens": len(tokens) - n_prompt,
            "routed_experts": packed,
        }
        facts |= {"input_ids": tokens[:n_prompt]} if n_prompt else {}
        answers.append({"output_ids": tokens[n_prompt:], "meta_info": facts})
    return answers


def _texts(trace: RoutingTrace, ids: Tensor | None, n_prompt: int):
    """(token ids, experts (tokens, MoE layers, k)) of every text, padding left out."""
    require(len(trace.layers) > 0, "trace", "no layers", "layers with experts")
    different = {layer.experts.shape[-1] for layer in trace.layers}
    require(len(different) == 1, "trace", f"k of {sorted(different)}", "one k in all layers")
    for layer in trace.layers:
        routed = routed_tokens(trace, layer)  # the same tokens in every layer
        kept = layer.kept is None or bool(layer.kept[routed].all())
        wants = "no dropped choices: engines have no field for them"
        require(kept, "trace", f"layer {layer.index}, dropped choices", wants)
    batch, length = trace.input_ids.shape
    if ids is None:
        ids = trace.input_ids
    require_tensor("ids", ids, ("batch", "sequence"), "whole")
    fits = ids.shape in ((batch, length), (batch, length + 1))
    require(fits, "ids", tuple(ids.shape), f"({batch}, {length}) or ({batch}, {length + 1})")
    there = trace.real & (trace.input_ids != UNKNOWN_TOKEN)
    same = torch.equal(ids[:, :length].cpu()[there], trace.input_ids[there])
    require(same, "ids", "other tokens than the trace's", "the tokens of the trace")
    experts = torch.stack([layer.experts for layer in trace.layers], dim=2)  # (batch, seq, L, k)
    for row, real in enumerate(trace.real):
        after = ids[row, length:].cpu() if bool(real[-1:].all()) else ids[row, :0].cpu()
        tokens = [*ids[row, :length].cpu()[real].tolist(), *after.tolist()]
        n = int(real.sum())
        require(n_prompt <= n, "n_prompt", n_prompt, f"at most {n}, the tokens of text {row}")
        known = np.asarray(tokens).min(initial=0) >= 0
        require(bool(known), "ids", UNKNOWN_TOKEN, "the ids of all tokens")
        yield tokens, experts[row][routed[row]]

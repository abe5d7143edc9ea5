"""Answers of vLLM; its documentation: "Routed Experts Replay" (0.21), "Routed Experts Return"."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.engines.arrays import trace_from_arrays
from moe_lib.tracing.engines.responses import answers, decoded, require_names, token_ids
from moe_lib.tracing.trace import UNKNOWN_TOKEN, RoutingTrace
from moe_lib.validation import Count, Natural, checked

_FLAG = "an answer with routing: start vLLM with --enable-return-routed-experts"


@checked
def trace_from_vllm(
    response: Any,
    *,
    n_layers: Count | None = None,
    k: Count | None = None,
    n_experts: Count | None = None,
    layers: Sequence[Natural] | None = None,
    config: Any = None,
    tokenizer: Any = None,
) -> RoutingTrace:
    """See `RoutingTrace.from_vllm`."""
    texts, ids = [], []
    require_names(tokenizer)
    for name, answer in answers(response, "vLLM"):
        choices = answer.get("choices")
        fits = isinstance(choices, list) and choices and all(isinstance(c, dict) for c in choices)
        require(fits, f"{name} choices", choices, "a list of choices, as vLLM answers")
        for number, choice in enumerate(choices):
            place = f"{name} choices[{number}]"
            routing, tokens = _of_choice(name, place, answer, choice, (n_layers, k), tokenizer)
            for fact, given, there in zip(
                ("n_layers", "k"), (n_layers, k), routing.shape[1:], strict=True
            ):
                wants = f"{there}, as {place} has, or None"
                require(given in (None, there), fact, given, wants)
            texts.append(routing)
            ids.append(tokens)
    return trace_from_arrays(texts, ids, n_experts=n_experts, layers=layers, config=config)


def _of_choice(
    name: str, place: str, answer: dict, choice: dict, outline: tuple, tokenizer: Any
) -> tuple[Tensor, list[int]]:
    """Routing (tokens, layers, k) of prompt and completion, and their token ids."""
    asked, own = choice.get("routed_experts"), None
    before = _either(answer, choice, "prompt_routed_experts")
    if before is not None:
        before = decoded(f"{name} prompt_routed_experts", before, outline, "int16")
        own = before[:0] if isinstance(asked, list) and not asked else None  # one token, unread
    if own is None:
        require(asked is not None, f"{place} routed_experts", asked, _FLAG)
        own = decoded(f"{place} routed_experts", asked, outline, "int16")
    written = token_ids(f"{place} token_ids", choice.get("token_ids"))
    prompt = token_ids(f"{name} prompt_token_ids", _either(answer, choice, "prompt_token_ids"))
    if written is None and tokenizer is not None and isinstance(choice.get("text"), str):
        guessed = tokenizer(choice["text"], add_special_tokens=False)["input_ids"]
        written = guessed if len(guessed) in (len(own), len(own) + 1) else None
    if before is None:
        return own, _tokens_of(place, own, prompt, written)
    same = own.shape[1:] == before.shape[1:] or not len(own)
    wants = f"the layers and k of the prompt's: {tuple(before.shape[1:])}"
    require(same, f"{place} routed_experts", tuple(own.shape), wants)
    wants = f"one row per token of the prompt ({len(prompt or before)})"
    fits = prompt is None or len(prompt) == len(before)
    require(fits, f"{name} prompt_routed_experts", f"{len(before)} rows", wants)
    whole = torch.cat((before, own)) if len(own) else before
    known = [UNKNOWN_TOKEN] * len(before) if prompt is None else prompt
    after = [UNKNOWN_TOKEN] * len(own) if written is None else written
    fits = len(after) in (len(own), len(own) + 1)
    wants = f"one row per token written ({len(after)}), or all but the last"
    require(fits, f"{place} routed_experts", f"{len(own)} rows", wants)
    return whole, known + after


def _either(answer: dict, choice: dict, field: str) -> Any:
    return choice[field] if choice.get(field) is not None else answer.get(field)


def _tokens_of(
    place: str, own: Tensor, prompt: list[int] | None, written: list[int] | None
) -> list[int]:
    """The tokens that one array of a choice belongs to: prompt and completion in later versions,
    the completion alone in earlier ones that did not return the prompt's."""
    both = None if prompt is None or written is None else prompt + written
    for tokens in (both, written):
        if tokens is not None and len(own) in (len(tokens) - 1, len(tokens)):
            return tokens
    if both is None and (written is None or len(own) > len(written)):
        tail = written or []
        unread = len(own) + 1 if tail else len(own)  # the last token written was never read
        return [UNKNOWN_TOKEN] * (unread - len(tail)) + tail
    found = len(both if both is not None else written)
    wants = f"one per token ({found}), or one less: the last token was never read"
    require(False, f"{place} routed_experts", f"{len(own)} rows", wants)

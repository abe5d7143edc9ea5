"""Answers of SGLang: its documentation, "Returning routed experts (MoE models)"."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.engines.arrays import trace_from_arrays
from moe_lib.tracing.engines.moe_layers import MoELayers
from moe_lib.tracing.engines.responses import answers, decoded, require_names, token_ids
from moe_lib.tracing.trace import UNKNOWN_TOKEN, RoutingTrace
from moe_lib.validation import Count, Natural, checked

_FLAG = (
    "an answer with routing: start SGLang with --enable-return-routed-experts and ask with "
    '"return_routed_experts": true'
)


@checked
def trace_from_sglang(
    response: Any,
    n_layers: Count | None = None,
    k: Count | None = None,
    *,
    n_experts: Count | None = None,
    layers: Sequence[Natural] | None = None,
    config: Any = None,
    tokenizer: Any = None,
) -> RoutingTrace:
    """See `RoutingTrace.from_sglang`."""
    require_names(tokenizer)
    if n_layers is None and layers is not None:
        n_layers = len(layers)
    if n_layers is None and config is not None:
        n_layers = len(MoELayers.of_config(config).indices)
    texts, ids = [], []
    for name, answer in answers(response, "SGLang"):
        for place, part in _parts(name, answer):
            routing, tokens = _of_part(place, answer, part, n_layers, k, tokenizer)
            texts.append(routing)
            ids.append(tokens)
    return trace_from_arrays(texts, ids, n_experts=n_experts, layers=layers, config=config)


def _parts(name: str, answer: dict) -> list[tuple[str, dict]]:
    """The answer itself, or the choices of an OpenAI-compatible one."""
    choices = answer.get("choices")
    if not choices:
        return [(name, answer)]
    fits = isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices)
    require(fits, f"{name} choices", choices, "a list of choices, as SGLang answers")
    return [(f"{name} choices[{number}]", one) for number, one in enumerate(choices)]


def _of_part(
    place: str, answer: dict, part: dict, n_layers: int | None, k: int | None, tokenizer: Any
) -> tuple[Tensor, list[int]]:
    holders = [
        holder
        for source in (part, answer)
        for holder in (source.get("meta_info"), source.get("sgl_ext"), source)
        if isinstance(holder, dict)
    ]

    def find(field: str) -> Any:
        return next((h[field] for h in holders if h.get(field) is not None), None)

    packed = find("routed_experts")
    require(packed is not None, f"{place} routed_experts", None, _FLAG)
    start = find("routed_experts_start_len") or 0
    good = type(start) is int and start >= 0
    require(good, f"{place} routed_experts_start_len", start, "a whole number of at least 0")
    prompt, written = _tokens(place, part, find, tokenizer)
    before, after = len(prompt), len(written)
    rows = before + after - 1 - start if before and after else None
    if k is None and rows and rows > 0 and n_layers and isinstance(packed, str):
        size = len(decoded(f"{place} routed_experts", packed, (1, 1), "int32"))
        wants = f"{rows} tokens × {n_layers} layers × k: the last token was never read"
        fits = size > 0 and size % (rows * n_layers) == 0
        require(fits, f"{place} routed_experts", f"{size} numbers", wants)
        k = size // (rows * n_layers)
    routing = decoded(f"{place} routed_experts", packed, (n_layers, k), "int32")
    if rows is None:
        return routing, [UNKNOWN_TOKEN] * len(routing)
    wants = f"{rows}: the tokens {start} to {before + after - 2}, all but the last"
    fits = len(routing) in (rows, rows + 1)
    require(fits, f"{place} routed_experts", f"{len(routing)} rows", wants)
    return routing, (prompt + written)[start:]


def _tokens(place: str, part: dict, find, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids of prompt and completion; unknown ones where only their number was returned."""
    prompt = token_ids(f"{place} prompt_token_ids", find("prompt_token_ids") or find("input_ids"))
    written = token_ids(f"{place} output_ids", find("output_ids") or find("token_ids"))
    prompt = _of_log_probs(find("input_token_logprobs")) if prompt is None else prompt
    written = _of_log_probs(find("output_token_logprobs")) if written is None else written
    n_prompt, n_written = (
        _count(place, find, f"{what}_tokens") for what in ("prompt", "completion")
    )
    text = part.get("text")
    if written is None and tokenizer is not None and isinstance(text, str):
        guessed = tokenizer(text, add_special_tokens=False)["input_ids"]
        written = guessed if len(guessed) == n_written else None
    return (
        [UNKNOWN_TOKEN] * n_prompt if prompt is None else prompt,
        [UNKNOWN_TOKEN] * n_written if written is None else written,
    )


def _count(place: str, find, field: str) -> int:
    usage = find("usage")
    found = find(field)
    found = usage.get(field) if found is None and isinstance(usage, dict) else found
    good = found is None or (type(found) is int and found >= 0)
    require(good, f"{place} {field}", found, "a whole number of at least 0")
    return found or 0


def _of_log_probs(entries: Any) -> list[int] | None:
    """Token ids of [[log-probability, id, text], …], as SGLang gives them."""
    good = isinstance(entries, list) and all(
        isinstance(one, list | tuple) and len(one) >= 2 and type(one[1]) is int for one in entries
    )
    return [one[1] for one in entries] if good and entries else None

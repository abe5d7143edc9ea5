"""Switch experts off for a while, to see what depends on them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel, MoELayer
from moe_lib.modules import bare
from moe_lib.tracing.interventions.banning import banned_experts
from moe_lib.validation import Natural, checked


@checked
@contextmanager
def experts_off(model: nn.Module, off: Mapping[int, Iterable[Natural]]) -> Iterator[nn.Module]:
    """Within the `with` block, the routers of `model` never choose the experts in `off`: {layer:
    experts}.

    Their logits are set to -inf before the softmax, so a token takes its next best expert, at the
    same cost (the disabling analysis of DeepSeekMoE, section 4.5). Afterwards the model is as it
    was, also after an error.

    model   a LanguageModel, or a Mixture-of-Experts model of transformers whose router scores its
            experts

    Raises ValueError for a layer without experts, an unknown expert, fewer experts left than a
    token needs, or a router that looks its experts up in a table.
    """
    inner = bare(model)
    if not isinstance(inner, LanguageModel):
        with banned_experts(inner, {index: list(experts) for index, experts in off.items()}):
            yield model
        return
    handles = []
    try:
        for index, experts in off.items():
            in_range = isinstance(index, int) and 0 <= index < len(inner.layers)
            require(in_range, "off", index, f"layer numbers from 0 to {len(inner.layers) - 1}")
            layer = bare(inner.layers[index].feed_forward)
            require(
                isinstance(layer, MoELayer),
                "off",
                f"layer {index}",
                "a layer with experts; this one is dense",
            )
            require(
                not bare(layer.router).by_token_id,
                "off",
                f"layer {index}",
                "a router with logits; this one looks its experts up in a table",
            )
            hook = _masking_hook(layer, index, sorted(set(experts)))
            handles.append(layer.router.register_forward_hook(hook))
        yield model
    finally:
        for handle in handles:
            handle.remove()


def _masking_hook(layer: MoELayer, index: int, experts: list[int]):
    router = bare(layer.router)
    total, k = router.n_routed_experts, router.num_experts_per_tok
    known = all(isinstance(expert, int) and 0 <= expert < total for expert in experts)
    require(known, "off", experts, f"experts of layer {index}: 0 to {total - 1}")
    require(
        total - len(experts) >= k,
        "off",
        f"{len(experts)} of {total} experts of layer {index}",
        f"at least {k} left, as every token needs {k}",
    )

    def hook(module, args, routing):
        banned = torch.tensor(experts, dtype=torch.long, device=routing.logits.device)
        return router.route(routing.logits.index_fill(1, banned, -torch.inf))

    return hook

"""What a monitor adds up of one MoE layer: cheap hooks, and no wait for the device before a step
ends."""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from moe_lib.model import LanguageModel, MoELayer
from moe_lib.modules import bare
from moe_lib.tracing.families import ADAPTERS, Choice, without_skipped
from moe_lib.tracing.hugging_face import expert_arguments, find_layers


class LayerCounts:
    """Sums of one layer since the last step, on its device.

    index    number of the layer in the model
    load     (E,) int64, times each expert was chosen; kept: where the pair was computed, too
    z        [sum of logsumexp(logits)² over the tokens, number of such tokens] of the router's
             logits (ST-MoE 2022, equation 5), zeros where it shows none
    """

    def __init__(self, index: int, name: str):
        self.index, self.name = index, name
        self.load: Tensor | None = None
        self.kept: Tensor | None = None
        self.z: Tensor | None = None

    def add(
        self,
        experts: Tensor,
        n_experts: int,
        real: Tensor | None,
        chosen: Tensor | None = None,
        kept: Tensor | None = None,
        logits: Tensor | None = None,
    ) -> None:
        """One pass: experts (tokens, k); real (tokens,) bool or None; the others as in `Choice`."""
        with torch.no_grad():
            counted = torch.ones_like(experts, dtype=torch.int64)
            if chosen is not None:
                counted = counted * chosen
            if real is not None and len(real) == len(experts):
                counted = counted * real[:, None]
            load = self._sum(experts, counted, n_experts)
            computed = load if kept is None else self._sum(experts, counted * kept, n_experts)
            self.load = load if self.load is None else self.load + load
            self.kept = computed if self.kept is None else self.kept + computed
            if logits is not None:
                self.add_z(logits, real)

    @staticmethod
    def _sum(experts: Tensor, counted: Tensor, n_experts: int) -> Tensor:
        zeros = torch.zeros(n_experts, dtype=torch.int64, device=experts.device)
        # scatter_add, as bincount waits for the device; masked columns may hold any number
        places = experts.flatten().clamp(0, n_experts - 1).long()
        return zeros.scatter_add_(0, places, counted.flatten())

    def add_z(self, logits: Tensor, real: Tensor | None) -> None:
        squares = logits.detach().float().flatten(0, -2).logsumexp(-1).square()  # (tokens,)
        known = squares.isfinite()
        if real is not None and len(real) == len(squares):
            known = known & real
        new = torch.stack((squares.where(known, 0).sum(), known.sum().float()))
        self.z = new if self.z is None else self.z + new

    def take(self, n_experts: int) -> tuple[Tensor, Tensor, Tensor]:
        """(load, kept, z), zeros where no token came by, and begin anew."""
        zeros = torch.zeros(n_experts, dtype=torch.int64)
        load = zeros if self.load is None else self.load
        kept = zeros if self.kept is None else self.kept
        z = torch.zeros(2, device=load.device) if self.z is None else self.z
        self.load = self.kept = self.z = None
        return load, kept, z


class Watched:
    """The hooks of a model's MoE layers. `counting()` says whether a pass counts; `real` is the
    mask of the pass that is going on."""

    def __init__(self, model: nn.Module, counting: Callable[[], bool]):
        self.layers: list[LayerCounts] = []
        self._counting, self._real = counting, None
        self._handles = [
            model.register_forward_pre_hook(self._on_input, with_kwargs=True),
            model.register_forward_hook(lambda *call: setattr(self, "_real", None)),
        ]
        own = isinstance(bare(model), LanguageModel)
        try:
            self._hook_own(model) if own else self._hook_other(model)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _on_input(self, module, args, kwargs) -> None:
        mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
        # An additive mask, or one of more dimensions, does not say which tokens are padding.
        flat = isinstance(mask, Tensor) and mask.dim() == 2 and not mask.is_floating_point()
        self._real = mask.flatten().bool() if flat else None

    def _hook_own(self, model: nn.Module) -> None:
        for name, module in model.named_modules():
            if isinstance(module, MoELayer):
                numbers = [int(part) for part in name.split(".") if part.isdigit()]
                counts = LayerCounts(numbers[0] if numbers else len(self.layers), name)
                self.layers.append(counts)
                self._handles.append(module.register_forward_hook(self._own_hook(counts)))

    def _own_hook(self, counts: LayerCounts):
        def on_output(module, args, output):
            if not self._counting():
                return
            record = output[1]
            counts.add(
                record.experts,
                record.n_experts,
                self._real,
                record.choices(),
                record.kept,
                record.logits if record.logits.numel() else None,
            )

        return on_output

    def _hook_other(self, model: nn.Module) -> None:
        for layer in find_layers(model):
            counts = LayerCounts(layer.index, layer.name)
            self.layers.append(counts)
            router = layer.router_outside and bare(layer.router_outside, adapters=False)
            if layer.experts is None:
                self._handles.append(
                    router.register_forward_hook(self._adapter_hook(counts, layer))
                )
                continue
            outside = bare(layer.experts_outside, adapters=False)
            hook = self._experts_hook(counts, layer)
            self._handles.append(outside.register_forward_pre_hook(hook, with_kwargs=True))
            if router is not None:
                self._handles.append(router.register_forward_hook(self._router_hook(counts, layer)))

    def _adapter_hook(self, counts: LayerCounts, layer):
        read = ADAPTERS[type(layer.router).__name__]

        def on_output(module, args, output):
            if self._counting():
                choice = read(layer.router, output)
                found = (choice.chosen, choice.kept, choice.logits)
                counts.add(choice.experts, choice.n_experts, self._real, *found)

        return on_output

    def _experts_hook(self, counts: LayerCounts, layer):
        names = list(inspect.signature(layer.experts.forward).parameters)
        index_name, weight_name = expert_arguments(layer.experts)
        total = _total(layer.experts)
        skips = type(layer.block).__name__ == "ZayaSparseMoeBlock"

        def on_experts(module, args, kwargs):
            if not self._counting():
                return
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            experts = given[index_name]
            experts = experts.reshape(-1, experts.shape[-1])
            chosen = None
            if skips:
                weights = given[weight_name].reshape(experts.shape)
                chosen = without_skipped(Choice(experts, weights, total)).chosen
            counts.add(experts, total, self._real, chosen)

        return on_experts

    def _router_hook(self, counts: LayerCounts, layer):
        def on_output(module, args, output):
            logits = output[0] if isinstance(output, tuple) and output else output
            shown = isinstance(logits, Tensor) and logits.is_floating_point() and logits.dim() >= 2
            if shown and self._counting() and logits.shape[-1] >= _total(layer.experts):
                counts.add_z(logits, self._real)

        return on_output


def _total(experts: nn.Module) -> int:
    return getattr(experts, "total_experts", None) or experts.num_experts

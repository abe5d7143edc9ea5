"""ESFT: train the few routed experts that a task uses, whole, and nothing else (Wang et al. 2024,
arXiv 2407.01906)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.counting import count_parameters
from moe_lib.errors import is_whole, require
from moe_lib.model import MoELayer, Routing
from moe_lib.model.experts import Experts
from moe_lib.tuning.arguments import is_list
from moe_lib.tuning.methods.base import Method
from moe_lib.tuning.methods.esft_selection import ExpertSelection
from moe_lib.tuning.methods.in_place import InPlace, router_tensors, shared_tensors
from moe_lib.tuning.methods.wrapping import Wrapped, Wrapper
from moe_lib.validation import Flag, checked


class ChosenExperts(Wrapper):
    """The experts of one layer, some of which are trained: gate_up (n, 2I, d) and down (n, d, I),
    copies at the start.

    The stack that runs is the base's with the trained ones put in their places. So the others
    cannot move: no gradient reaches them, no weight decay, and no optimiser keeps anything about
    them.
    """

    def __init__(self, base: Experts, chosen: tuple[int, ...]):
        super().__init__(base)
        self.register_buffer("chosen", torch.tensor(chosen), persistent=False)
        self.gate_up = nn.Parameter(base.gate_up_proj.detach()[list(chosen)])
        self.down = nn.Parameter(base.down_proj.detach()[list(chosen)])

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        return Experts.forward(self, x, routing)  # reads the two stacks below instead of the base's

    @property
    def gate_up_proj(self) -> Tensor:
        return self._with(self.base.gate_up_proj, self.gate_up)

    @property
    def down_proj(self) -> Tensor:
        return self._with(self.base.down_proj, self.down)

    def _with(self, stack: Tensor, trained: Tensor) -> Tensor:
        return stack.index_copy(0, self.chosen, trained) if self.enabled else stack


class AttachedESFT(Wrapped):
    def _wrap(self) -> dict[str, Wrapper]:
        layers = dict(self.method.experts)
        self.method.count(
            self.model.config
        )  # refuses layers and experts that the model does not have
        return {
            f"layers.{number}.feed_forward.experts": ChosenExperts(
                block.feed_forward.experts, layers[number]
            )
            for number, block in enumerate(self.model.layers)
            if number in layers and isinstance(block.feed_forward, MoELayer)
        }

    def _install(self) -> None:
        super()._install()
        self.others = InPlace(
            (router_tensors(self.model) if self.method.train_router else {})
            | (shared_tensors(self.model) if self.method.train_shared else {})
        )

    def _switch(self, on: bool) -> None:
        super()._switch(on)
        self.others.swap()

    def _remove(self) -> None:
        super()._remove()
        if self.enabled:
            self.others.swap()

    @torch.no_grad()
    def _merge(self) -> None:
        self._kept = {path: self._exchange(wrapper) for path, wrapper in self.wrappers.items()}
        for path, wrapper in self.wrappers.items():
            self.model.set_submodule(path, wrapper.base)

    @torch.no_grad()
    def _unmerge(self) -> None:
        for path, wrapper in self.wrappers.items():
            wrapper.to(self.model.device)
            for stack, trained in _stacks(wrapper):
                require(
                    torch.equal(stack[wrapper.chosen], trained),
                    "unmerge",
                    f"{path} changed since merge()",
                    "the weights that merge() left: unmerging would undo the change",
                )
        for path, wrapper in self.wrappers.items():
            for (stack, _), weights in zip(_stacks(wrapper), self._kept[path], strict=True):
                stack[wrapper.chosen] = weights.to(stack)
            self.model.set_submodule(path, wrapper.train(wrapper.base.training))
        del self._kept

    @staticmethod
    def _exchange(wrapper: ChosenExperts) -> list[Tensor]:
        """Put the trained experts into the base's stacks; the base's own, to be put back."""
        kept = []
        for stack, trained in _stacks(wrapper):
            kept.append(stack[wrapper.chosen])  # a copy
            stack[wrapper.chosen] = trained
        return kept

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | self.others.tensors  # the selection bias is no parameter


def _stacks(wrapper: ChosenExperts) -> list[tuple[Tensor, Tensor]]:
    return [(wrapper.base.gate_up_proj, wrapper.gate_up), (wrapper.base.down_proj, wrapper.down)]


def _pairs(given: Any) -> list[tuple[int, tuple[int, ...]]]:
    """(layer, experts) of a mapping or of pairs. TypeError or ValueError naming what is no whole
    number."""
    wants = "what select_experts gives, or layer -> numbers of its experts"
    pairs = list(given.items()) if isinstance(given, Mapping) else given
    require(isinstance(pairs, list | tuple), "experts", given, wants, TypeError)
    found = []
    for pair in pairs:
        fits = isinstance(pair, list | tuple) and len(pair) == 2 and is_whole(pair[0])
        require(fits, "experts", pair, wants, TypeError)
        layer, chosen = pair
        listed = is_list(chosen) or isinstance(chosen, set | frozenset)
        require(listed, f"experts[{layer}]", chosen, "numbers of experts", TypeError)
        for expert in chosen:
            require(is_whole(expert), f"experts[{layer}]", expert, "whole numbers", TypeError)
        found.append((int(layer), tuple(int(expert) for expert in chosen)))
    return found


@checked
@dataclass(frozen=True)
class ESFT(Method):
    """experts   what `select_experts` found on the task's texts; or layer -> numbers of its
                 experts, by hand
    train_shared   also train the shared experts
    train_router   also train the routers (their selection bias then moves with the load)

    Trains 3 · hidden_size · moe_intermediate_size numbers per chosen expert. The file it saves
    holds these experts alone. Raises ValueError for no experts, or for some that the model does not
    have.

    selection = select_experts(model, batches, scores="token", p=0.2)
    run = finetune(head, batches, steps=100, method=ESFT(selection))
    """

    attached_class = AttachedESFT

    experts: Any = ()  # kept as ((layer, (expert, …)), …)
    train_shared: Flag = False
    train_router: Flag = False

    def __post_init__(self):
        given = self.experts.experts if isinstance(self.experts, ExpertSelection) else self.experts
        layers = tuple(sorted(pair for pair in _pairs(given) if pair[1]))
        require(len(layers) > 0, "experts", given, "at least one expert: what select_experts gives")
        for layer, chosen in layers:
            require(len(set(chosen)) == len(chosen), f"experts[{layer}]", chosen, "none twice")
        object.__setattr__(self, "experts", layers)

    @property
    def n_experts(self) -> int:
        """Trained experts in all layers together."""
        return sum(len(chosen) for _, chosen in self.experts)

    def count(self, config: ModelConfig) -> int:
        for layer, chosen in self.experts:
            moe = 0 <= layer < config.num_hidden_layers and config.is_moe_layer(layer)
            require(moe, "experts", f"experts of layer {layer}", "MoE layers of this model only")
            fits = 0 <= min(chosen) and max(chosen) < config.n_routed_experts
            require(
                fits,
                f"experts[{layer}]",
                chosen,
                f"numbers from 0 to {config.n_routed_experts - 1}",
            )
        parts = count_parameters(config)
        return (
            self.n_experts * 3 * config.hidden_size * config.moe_intermediate_size
            + parts.shared_experts * self.train_shared
            + parts.router * self.train_router
        )

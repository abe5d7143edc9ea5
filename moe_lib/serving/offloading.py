"""Experts that stay on disk: a model that keeps a few per layer in memory and reads the others when
a token needs them.

The routed experts are nearly all of a Mixture-of-Experts model's weights, and a token uses few of
them (Eliseev and Mazur 2023, arXiv 2312.17238, run Mixtral so). What a number of slots will do to
the hit rate, `moe_lib.tracing.expert_cache` says beforehand, from a trace.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from moe_lib.devices import usable_device
from moe_lib.errors import require, require_one_of
from moe_lib.files import opened, read_json, read_shapes
from moe_lib.model import LanguageModel, MoELayer, Routing
from moe_lib.model.experts import swiglu
from moe_lib.model_inputs import check_vocabulary
from moe_lib.modules import bare
from moe_lib.shapes_only import shapes_only
from moe_lib.text import load_tokenizer
from moe_lib.tracing.expert_slots import EMPTY, ONLINE, ExpertSlots
from moe_lib.training import checkpoint_checks, find_checkpoint
from moe_lib.training.checkpoints import MODEL_TYPE
from moe_lib.validation import Count, Flag, PathLike, checked

MATRICES = ("gate_up_proj", "down_proj")


@dataclass(frozen=True)
class CacheStatistics:
    """What the cache of one layer did since the model was opened, or since the last reset.

    requests  experts asked for: in each call of the layer every expert that a token chose, once
    hits      of these, how many were in memory
    loads     experts read from disk; bytes_read: of them, as they are stored
    resident  experts in memory now, at most num_slots
    """

    index: int
    num_slots: int
    requests: int
    hits: int
    bytes_read: int
    resident: int

    @property
    def loads(self) -> int:
        return self.requests - self.hits

    @property
    def hit_rate(self) -> float:
        return self.hits / self.requests if self.requests else float("nan")


@checked
def offload_experts(
    name_or_folder: PathLike,
    num_slots: Count,
    policy: str = "lru",
    device: str | torch.device | None = None,
) -> tuple:
    """(model, tokenizer) of a checkpoint, as `load_checkpoint` gives them, with the routed experts
    left in model.safetensors.

    num_slots  experts that each MoE layer holds in memory, on the device
    policy     who makes room: "lru" or "lfu" (`moe_lib.tracing.expert_slots.ExpertSlots`)
    device     for everything but the file; None: the CPU

    The model reads, generates and is traced as usual; it cannot be trained or saved. Its numbers
    are, bit for bit, those of `moe_lib.model.experts.run_loop` on the whole model, and so those of
    the whole model but for rounding. All experts that one token needs are in memory together; where
    a call brings many tokens that need more experts than there are slots (a prompt), the experts
    pass through one after the other. The file is mapped into memory only while experts are read,
    and must stay where it is.

    Raises as `load_checkpoint` does, and ValueError for a checkpoint without experts, or fewer
    slots than num_experts_per_tok.
    """
    require_one_of("policy", policy, ONLINE)
    device, folder = usable_device(device), find_checkpoint(name_or_folder)
    fields = read_json(folder / "config.json")
    config = checkpoint_checks.config_of(folder / "config.json", fields, MODEL_TYPE)
    path = folder / "model.safetensors"
    checkpoint_checks.check_sizes(path, config)
    with shapes_only():
        model = LanguageModel(config)
    layers = [(n, block) for n, block in enumerate(model.layers) if _has_experts(block)]
    require(bool(layers), "name_or_folder", str(name_or_folder), "a checkpoint with experts")
    _check_slots(num_slots, layers)
    shapes = read_shapes(path)
    for index, block in layers:
        _check_shapes(path, shapes, index, block.feed_forward.experts)
        block.feed_forward.experts = OffloadedExperts(
            path, index, num_slots, policy, block.feed_forward.experts
        )
    _fill(path, model, shapes)
    tokenizer = load_tokenizer(folder) if (folder / "tokenizer.json").exists() else None
    check_vocabulary(tokenizer, config)
    return model.requires_grad_(False).to(device).eval(), tokenizer


@checked
def cache_statistics(model: nn.Module, reset: Flag = False) -> list[CacheStatistics]:
    """What the caches of a model of `offload_experts` did, a record per MoE layer.

    reset  start counting anew; the experts stay where they are. Raises ValueError for a model
    without such caches.
    """
    parts = [part for part in bare(model).modules() if isinstance(part, OffloadedExperts)]
    require(bool(parts), "model", type(model).__name__, "a model opened by offload_experts")
    found = [part.statistics() for part in parts]
    if reset:
        for part in parts:
            part.requests = part.hits = part.bytes_read = 0
    return found


class OffloadedExperts(nn.Module):
    """The routed experts of one layer: `num_slots` in memory, all of them in a file.

    slots of gate_up (num_slots, 2I, d) and down (num_slots, d, I); forward as `Experts`.
    """

    def __init__(self, path: Path, index: int, num_slots: int, policy: str, like: nn.Module):
        super().__init__()
        self.path, self.index, self.cache = path, index, ExpertSlots(num_slots, policy)
        self.requests = self.hits = self.bytes_read = 0
        for name in MATRICES:
            shape = (num_slots, *getattr(like, name).shape[1:])
            self.register_buffer(name, torch.zeros(shape, device="cpu"), persistent=False)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """x (tokens, d), routing of these tokens -> (tokens, d)"""
        require(not x.requires_grad, "x", "a gradient", "none: offloaded experts cannot be trained")
        needed = list(dict.fromkeys(routing.experts[routing.kept].tolist()))  # in order of need
        together = len(needed) <= len(self.cache.slots)
        if together:
            self._bring(needed)
        output, weights = torch.zeros_like(x), routing.weights.to(x.dtype)
        for expert in sorted(needed):
            if not together:
                self._bring([expert])
            token, rank = torch.where((routing.experts == expert) & routing.kept)  # (n,) each
            slot = self.cache.place(expert)
            result = swiglu(x[token], self.gate_up_proj[slot], self.down_proj[slot])  # (n, d)
            output = output.index_add(0, token, result * weights[token, rank, None])
        return output

    def _bring(self, experts: list[int]) -> None:
        loads = self.cache.request(experts)
        self.requests += len(experts)
        self.hits += len(experts) - len(loads)
        if not loads:
            return
        try:
            with opened(self.path) as file:
                for slot, expert, _ in loads:
                    self._read(file, slot, expert)
        except Exception:
            self.cache = ExpertSlots(len(self.cache.slots), self.cache.policy)  # half read: forget
            raise

    def _read(self, file, slot: int, expert: int) -> None:
        for name in MATRICES:
            stored = file.get_slice(_stored(self.index, name))[expert]
            whole = bool(torch.isfinite(stored).all())
            wants = "finite weights"
            where = f"{self.path}: {_stored(self.index, name)}[{expert}]"
            require(whole, where, "a NaN or infinity", wants)
            getattr(self, name)[slot].copy_(stored)
            self.bytes_read += stored.numel() * stored.element_size()

    def statistics(self) -> CacheStatistics:
        resident = sum(expert != EMPTY for expert in self.cache.slots)
        counts = self.requests, self.hits, self.bytes_read
        return CacheStatistics(self.index, len(self.cache.slots), *counts, resident)


def _has_experts(block: nn.Module) -> bool:
    return isinstance(block.feed_forward, MoELayer)


def _stored(index: int, name: str) -> str:
    return f"layers.{index}.feed_forward.experts.{name}"


def _check_slots(num_slots: int, layers: Iterable) -> None:
    least = max(block.feed_forward.router.num_experts_per_tok for _, block in layers)
    wants = f"at least num_experts_per_tok ({least})"
    require(num_slots >= least, "num_slots", num_slots, wants)


def _check_shapes(path: Path, shapes: dict, index: int, experts: nn.Module) -> None:
    for name in MATRICES:
        wanted, found = tuple(getattr(experts, name).shape), shapes.get(_stored(index, name))
        if found != wanted:
            raise ValueError(f"{path}: {_stored(index, name)} has shape {found}; wants {wanted}")


def _fill(path: Path, model: LanguageModel, shapes: dict) -> None:
    """Everything but the experts, in float32."""
    offloaded = {name for name in shapes if ".feed_forward.experts." in name}
    with opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in shapes if name not in offloaded}
    if model.config.tie_word_embeddings and "embedding.weight" in tensors:
        tensors.setdefault("head.weight", tensors["embedding.weight"])
    checkpoint_checks.check_tensors(path, tensors, model)
    # copies, so that nothing holds on to the mapped file
    own = {
        name: tensor.to(torch.float32, copy=True) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in tensors.items()
    }
    model.load_state_dict(own, assign=True)
    if model.config.tie_word_embeddings:
        model.head.weight = model.embedding.weight


def resident_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers that a model holds in memory, slots included; what
    is tied counts once."""
    held = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in held.values())

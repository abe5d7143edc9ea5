"""RoutingTrace: which expert took which token, in every MoE layer of one forward pass."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from moe_lib.errors import require, require_texts
from moe_lib.tracing.traced_inputs import check_layer, check_layers
from moe_lib.validation import Decoder, Natural, PathLike, checked, require_tensor

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN_TOKEN = -1  # in input_ids, where a serving engine did not name the token


@dataclass(frozen=True)
class LayerTrace:
    """The routing of one MoE layer.

    name       the module's name in the model, e.g. "layers.2.feed_forward"
    index      number of the layer in the model, counted from 0 (dense layers count, but have no
               trace)
    n_experts  E, the experts to choose from
    experts    (batch, sequence, k) int64, best first (in another library's model: largest weight
               first)
    weights    (batch, sequence, k) float, what multiplies each chosen expert's output; None where
               nobody recorded it (serving engines return the experts alone)
    scores     (batch, sequence, E) float, affinity of every expert before selection; None likewise
    kept       (batch, sequence, k) bool, False where a capacity limit dropped the pair; None:
               nothing was dropped
    chosen     (batch, sequence, k) bool, False where a column holds no choice, because tokens have
               different numbers of experts; None: every column is a choice
    shared     True if shared experts, which every token passes, stand beside the routed ones
    n_shared   how many of them; 1 where the model does not count them
    n_group    equal blocks of experts that limit the choice (DeepSeek-V2, section 2.2.2); 1: no
               limit
    topk_group blocks that one token may use
    """

    name: str
    index: int
    n_experts: int
    experts: Tensor
    weights: Tensor | None = None
    scores: Tensor | None = None
    kept: Tensor | None = None
    chosen: Tensor | None = None
    shared: bool = False
    n_shared: int = 0
    n_group: int = 1
    topk_group: int = 1

    def __post_init__(self):
        check_layer(self)

    def choices(self, real: Tensor) -> Tensor:
        """(batch, sequence, k) bool: the columns that hold a choice of a real token (batch,
        sequence)."""
        everywhere = real[..., None].expand(self.experts.shape)
        return everywhere if self.chosen is None else everywhere & self.chosen

    def select(self, rows: Tensor | slice, columns: slice = slice(None)) -> "LayerTrace":
        """The same layer for some texts (rows of the batch) and some positions."""
        return replace(
            self, **{name: part[rows][:, columns] for name, part in self.tensors().items()}
        )

    def tensors(self) -> dict[str, Tensor]:
        """The fields that hold one entry per token, by name; those that are None are left out."""
        names = ("experts", "weights", "scores", "kept", "chosen")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class RoutingTrace:
    """Routing of a batch of texts through a model; everything on the CPU.

    layers            a LayerTrace per MoE layer, in the model's order
    input_ids         (batch, sequence) int64; -1 where a serving engine did not name the token
    real              (batch, sequence) bool, False at padding; padding takes no part in counts
    domains           one name per text of the batch, or None
    attention_layers  a LayerTrace per layer whose attention heads are experts too (JetMoE); else
                      empty
    n_layers          layers of the model, dense ones included; None if it does not say
    """

    layers: list[LayerTrace]
    input_ids: Tensor
    real: Tensor
    domains: tuple[str, ...] | None = None
    attention_layers: tuple[LayerTrace, ...] = ()
    n_layers: int | None = None

    def __post_init__(self):
        require_tensor("input_ids", self.input_ids, ("batch", "sequence"), "whole")
        require_tensor("real", self.real, tuple(self.input_ids.shape), bool)
        for part in ("layers", "attention_layers"):
            check_layers(part, getattr(self, part), LayerTrace, tuple(self.input_ids.shape))
        texts = self.input_ids.shape[0]
        if self.domains is not None:
            require_texts("domains", self.domains)
            object.__setattr__(self, "domains", tuple(self.domains))
            require(
                len(self.domains) == texts,
                "domains",
                f"{len(self.domains)} names",
                f"one per text ({texts})",
            )

    @classmethod
    def from_arrays(
        cls,
        experts: Any,
        input_ids: Any = None,
        *,
        weights: Any = None,
        n_experts: int | None = None,
        layers: Sequence[int] | None = None,
        config: Any = None,
        domains: Sequence[str] | None = None,
    ) -> "RoutingTrace":
        """The trace of one text, or of several in a list: arrays, tensors or nested lists.

        experts    (tokens, MoE layers, k) whole numbers, best first
        input_ids  as many token ids, or one more: the last one was written and never read, and has
                   no expert in the trace; None: unknown, -1 in the trace
        weights    like experts; None: unknown
        n_experts  of each layer; None: one more than the largest number that occurs
        layers     the layers' numbers in the model; None: 0, 1, …
        config     says the last two: a configuration of transformers, a ModelConfig, a dict, or the
                   folder of a model
        domains    a name per text

        Raises TypeError or ValueError naming what is wrong: an expert out of range or twice at one
        token, layers that the configuration does not have, tokens and routing of different length.
        """
        from moe_lib.tracing.engines.arrays import trace_from_arrays

        facts = {"n_experts": n_experts, "layers": layers, "config": config, "domains": domains}
        return trace_from_arrays(experts, input_ids, weights=weights, **facts)

    @classmethod
    def from_vllm(cls, response: Any, **facts: Any) -> "RoutingTrace":
        """The routing in answers of vLLM (`--enable-return-routed-experts`): one text per choice,
        its prompt and what was written after it.

        response  an answer of its server (dict, JSON text, object of the OpenAI client) or of
                  `LLM.generate`, a list of them, or a file: JSON, or .jsonl with an answer a line
        facts     n_experts, layers, config: as in `from_arrays`; tokenizer: to find the tokens of a
                  completion that has its text alone; n_layers, k: the MoE layers and the experts
                  per token, where a version returns the numbers without their shape

        vLLM numbers MoE layers only and returns no weights; earlier versions leave out the prompt.
        Token ids are there if the request asked for them ("return_token_ids": true). Raises
        ValueError naming the answer and the field for one without routing, cut short, or damaged.
        """
        from moe_lib.tracing.engines.vllm import trace_from_vllm

        return trace_from_vllm(response, **facts)

    @classmethod
    def from_sglang(
        cls, response: Any, n_layers: int | None = None, k: int | None = None, **facts: Any
    ) -> "RoutingTrace":
        """The routing in answers of SGLang (`--enable-return-routed-experts`, and
        "return_routed_experts": true in the request), native or OpenAI-compatible.

        response     as in `from_vllm`
        n_layers, k  MoE layers and experts per token: SGLang returns its numbers in a row.
                     n_layers follows from layers or config, k from the number of tokens
        facts        n_experts, layers, config, tokenizer: as in `from_vllm`

        Raises as `from_vllm` does.
        """
        from moe_lib.tracing.engines.sglang import trace_from_sglang

        return trace_from_sglang(response, n_layers, k, **facts)

    @checked
    def layer(self, index: Natural) -> LayerTrace:
        """The trace of layer number `index` of the model. Raises ValueError if that layer has no
        experts."""
        found = [layer for layer in self.layers if layer.index == index]
        require(
            bool(found),
            "index",
            index,
            f"a layer with experts: {[layer.index for layer in self.layers]}",
        )
        return found[0]

    @checked
    def load(self, index: Natural) -> Tensor:
        """Times each expert of layer `index` was chosen, padding left out: (E,) int64.

        Columns that hold no choice do not count; choices that a capacity limit dropped afterwards
        do.
        """
        layer = self.layer(index)
        return torch.bincount(layer.experts[layer.choices(self.real)], minlength=layer.n_experts)

    def loads(self) -> Tensor:
        """`load` of every traced layer, (layers, E) int64. Raises ValueError if layers differ in
        size."""
        sizes = {layer.n_experts for layer in self.layers}
        require(
            len(sizes) == 1,
            "layers",
            sorted(sizes),
            "the same number of experts in every layer; use load(index)",
        )
        return torch.stack([self.load(layer.index) for layer in self.layers])

    @checked
    def filter(
        self,
        *,
        domains: str | Collection[str] | None = None,
        layers: Collection[Natural] | None = None,
        tokens: Tensor | None = None,
    ) -> "RoutingTrace":
        """A part of the trace; what is not given stays whole.

        domains  only the texts of these domains
        layers   only the layers of these numbers
        tokens   (batch, sequence) bool of this trace: only these tokens count; the others become
                 padding

        Positions that hold no real token in any text are cut off at the end. Raises ValueError for
        a domain or a layer that the trace does not have, or a mask of another shape.
        """
        real, rows = self.real, torch.ones(len(self.real), dtype=torch.bool)
        if tokens is not None:
            require_tensor("tokens", tokens, tuple(real.shape), device=real.device)
            require(bool((tokens == tokens.bool()).all()), "tokens", "other numbers", "0 and 1")
            real = real & tokens.bool()
        if domains is not None:
            wanted = {domains} if isinstance(domains, str) else set(domains)
            known = set(self.domains or ())
            require(
                wanted <= known,
                "domains",
                sorted(wanted - known),
                f"domains of the trace: {sorted(known)}",
            )
            rows = torch.tensor([domain in wanted for domain in self.domains], dtype=torch.bool)
        there = {layer.index for layer in self.layers}
        wanted_layers = there if layers is None else set(layers)
        unknown = sorted(wanted_layers - there)
        require(not unknown, "layers", unknown, f"layers with experts: {sorted(there)}")
        kept_layers = [layer for layer in self.layers if layer.index in wanted_layers]
        used = real[rows].any(0).nonzero()
        columns = slice(0, int(used.max()) + 1 if len(used) else 0)
        attention = [
            part for part in self.attention_layers if layers is None or part.index in layers
        ]
        return replace(
            self,
            layers=[layer.select(rows, columns) for layer in kept_layers],
            input_ids=self.input_ids[rows][:, columns],
            real=real[rows][:, columns],
            domains=self.domains
            and tuple(d for d, keep in zip(self.domains, rows, strict=True) if keep),
            attention_layers=tuple(part.select(rows, columns) for part in attention),
        )

    def join(self, *others: "RoutingTrace") -> "RoutingTrace":
        """This trace and others of the same model as one batch; shorter texts get padding at the
        end.

        Raises ValueError if the layers differ, or only some of the traces name domains.
        """
        from moe_lib.tracing.joining import join_traces

        return join_traces([self, *others])

    @checked
    def to_pandas(self, tokenizer: Decoder | None = None) -> "pd.DataFrame":
        """One row per choice of a real token, in the order layer, text, position, rank.

        Columns: layer, name, text (row of the batch), position, token_id, rank (1 is the first
        choice), expert, weight, kept; domain if the trace has domains; token, the token as a
        string, if a tokenizer is given.
        """
        from moe_lib.tracing.trace_frames import frame_of  # pandas is slow to import

        return frame_of(self, tokenizer)

    def save(self, path: PathLike) -> Path:
        """Write the trace; see `moe_lib.tracing.save_trace`. `moe_lib.tracing.load_trace` reads it
        again."""
        from moe_lib.tracing.trace_files import save_trace

        return save_trace(self, path)

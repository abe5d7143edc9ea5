"""A Transformer language model, causal or masked, whose feed-forward layers may be mixtures of
experts."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.labels import IGNORED
from moe_lib.model.attention import visible_keys
from moe_lib.model.balance import total_balance_loss
from moe_lib.model.block import Block
from moe_lib.model.cache import KVCache
from moe_lib.model.generation import NewToken, generate, stream
from moe_lib.model.layers import RMSNorm
from moe_lib.model.rotary import rotary_angles, turns_of
from moe_lib.model.routing import Routing


@dataclass(frozen=True)
class ModelOutput:
    """What one forward pass gives.

    logits        (batch, sequence, vocab) float
    loss          scalar, mean cross-entropy in nats over the labelled positions; None without
                  labels
    balance_loss  scalar, the balance losses of all MoE layers times their factors (aux_loss_alpha
                  and the others); 0 in a dense model, with all factors 0, or when generating with a
                  cache. Never part of `loss`.
    routing       one Routing per layer, None at dense layers
    """

    logits: Tensor
    loss: Tensor | None
    balance_loss: Tensor
    routing: list[Routing | None]


@dataclass(frozen=True)
class SideOutput:
    """What a forward pass gives beside its hidden states: balance_loss and routing, as in
    ModelOutput."""

    balance_loss: Tensor
    routing: list[Routing | None]


class LanguageModel(nn.Module):
    """Embedding, blocks, a last norm, and logits over the vocabulary.

    A causal model (`config.causal`) predicts the next token: labels are the input ids themselves,
    shifted inside. A masked model sees both directions and predicts the token at each labelled
    position: labels are not shifted.
    """

    follows_decoding_plan = (
        True  # this class; of a subclass, which may compute something else, nobody knows
    )

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            Block(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif not name.endswith("norm.weight"):
                nn.init.normal_(parameter, std=config.initializer_range)
        if config.tie_word_embeddings:
            self.head.weight = self.embedding.weight

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        cache: KVCache | None = None,
        last_logits_only: bool = False,
    ) -> ModelOutput:
        """input_ids (batch, sequence) int64 -> ModelOutput.

        attention_mask  (batch, sequence) 1 or True at real tokens; with a cache (batch, past +
                        sequence)
        labels          (batch, sequence) int64, -100 where there is nothing to predict
        cache           a KVCache to read from and to extend (causal models only)
        last_logits_only   logits (batch, 1, vocab) of the last position alone: all that generation
                           needs

        Raises ValueError or TypeError for wrong shapes, types, ids outside the vocabulary,
        sequences beyond max_position_embeddings, labels without a single position to predict, or a
        cache in a masked model.
        """
        require(
            labels is None or not last_logits_only, "last_logits_only", True, "False with labels"
        )
        hidden, side = self._hidden(input_ids, attention_mask, labels, cache)
        logits = self.head(self.norm(hidden[:, -1:] if last_logits_only else hidden))
        loss = None if labels is None else self._loss(logits, labels)
        return ModelOutput(logits, loss, side.balance_loss, side.routing)

    def hidden_states(
        self, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, SideOutput]:
        """What the model knows about each token, (batch, sequence, hidden_size) after the last
        norm, and the balance loss and routing of the pass. Task heads stand on it; the vocabulary
        logits are not computed.

        Arguments and errors are those of `forward`.
        """
        hidden, side = self._hidden(input_ids, attention_mask, None, None)
        return self.norm(hidden), side

    def _hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        labels: Tensor | None,
        cache: KVCache | None,
    ) -> tuple[Tensor, SideOutput]:
        """The residual stream after the last block, before the last norm."""
        past = cache.length if cache is not None else 0
        self._check(input_ids, attention_mask, labels, cache, past)
        length = input_ids.shape[1]
        if attention_mask is None:
            positions = torch.arange(past, past + length, device=input_ids.device)[None]
        else:  # padding does not count, on whichever side it stands
            positions = (attention_mask.long().cumsum(1) - 1).clamp(min=0)[:, past:]
        config = self.config
        angles = turns_of(
            rotary_angles(positions, config.rotary_dim, config.rope_theta, config.rope_scaling)
        )
        visible = visible_keys(config.causal, length, attention_mask, past)

        new_mask = None if attention_mask is None else attention_mask[:, past:].bool()
        hidden, routing = self.embedding(input_ids), []
        for layer in self.layers:
            hidden, layer_routing = layer(hidden, angles, visible, cache, input_ids, new_mask)
            routing.append(layer_routing)
        return hidden, SideOutput(self._balance_loss(routing, input_ids, new_mask, cache), routing)

    def generate(self, input_ids: Tensor, max_new_tokens: int, **options) -> Tensor:
        """Continue input_ids (batch, sequence); see `moe_lib.model.generation.generate` for the
        options."""
        return generate(self, input_ids, max_new_tokens, **options)

    def stream(self, input_ids: Tensor, max_new_tokens: int, **options) -> Iterator[NewToken]:
        """The same, one token at a time with its routing; see `moe_lib.model.generation.stream`."""
        return stream(self, input_ids, max_new_tokens, **options)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.causal:
            logits, labels = logits[:, :-1], labels[:, 1:]
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)

    def _balance_loss(
        self, routing: list, input_ids: Tensor, mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        if cache is not None:
            return torch.zeros((), device=input_ids.device)
        n_sequences = input_ids.shape[0] if self.config.seq_aux else 1
        total = total_balance_loss(
            routing, self.config, n_sequences, None if mask is None else mask.flatten()
        )
        return total.to(input_ids.device)

    def _check(self, input_ids, attention_mask, labels, cache, past):
        whole = isinstance(input_ids, Tensor) and input_ids.dtype in (torch.int64, torch.int32)
        got = getattr(input_ids, "dtype", type(input_ids).__name__)
        require(whole, "input_ids", got, "an integer tensor", TypeError)
        require(
            input_ids.dim() == 2 and input_ids.numel() > 0,
            "input_ids",
            tuple(input_ids.shape),
            "shape (batch, sequence), neither 0",
        )
        low, high = (int(end) for end in torch.aminmax(input_ids))
        require(
            low >= 0 and high < self.config.vocab_size,
            "input_ids",
            f"ids from {low} to {high}",
            f"ids from 0 to {self.config.vocab_size - 1} (vocab_size {self.config.vocab_size})",
        )
        batch, length = input_ids.shape
        limit = self.config.max_position_embeddings
        require(
            past + length <= limit,
            "input_ids",
            f"{past + length} positions",
            f"at most max_position_embeddings ({limit})",
        )
        require(
            cache is None or self.config.causal,
            "cache",
            "a cache for a masked model",
            "None: with attention in both directions a new token changes the old ones",
        )
        if attention_mask is not None:
            require(
                attention_mask.shape == (batch, past + length),
                "attention_mask",
                tuple(attention_mask.shape),
                f"shape {(batch, past + length)}",
            )
        if labels is not None:
            require(
                labels.shape == input_ids.shape,
                "labels",
                tuple(labels.shape),
                f"the shape of input_ids {(batch, length)}",
            )
            self._check_labels(labels[:, 1:] if self.config.causal else labels)

    def _check_labels(self, labels: Tensor):
        used = labels[labels != IGNORED]
        require(
            used.numel() > 0,
            "labels",
            "-100 at every position that is predicted",
            "at least one other label",
        )
        low, high = int(used.min()), int(used.max())
        require(
            low >= 0 and high < self.config.vocab_size,
            "labels",
            f"labels from {low} to {high}",
            f"-100, or ids from 0 to {self.config.vocab_size - 1}",
        )

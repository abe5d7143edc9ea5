"""A Transformer language model, causal or masked, whose feed-forward layers may have experts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require, require_bool
from moe_lib.labels import IGNORED
from moe_lib.model.attention import visible_keys
from moe_lib.model.balance import total_balance_loss
from moe_lib.model.block import Block
from moe_lib.model.layers import RMSNorm
from moe_lib.model.rotary import rotary_angles
from moe_lib.model.routing import Routing
from moe_lib.model_inputs import check_ids, check_labels, require_memory
from moe_lib.validation import checked, require_tensor


@dataclass(frozen=True)
class ModelOutput:
    """What one forward pass gives.

    logits        (batch, sequence, vocab) float; None from `hidden_states`
    loss          scalar, mean cross-entropy in nats over labelled positions; None without labels
    balance_loss  scalar, the balance losses of all MoE layers times their factors; 0 in a dense
                  model, with all factors 0, or with a cache. Never part of `loss`
    routing       one Routing per layer, None at dense layers
    """

    logits: Tensor | None
    loss: Tensor | None
    balance_loss: Tensor
    routing: list[Routing | None]


class LanguageModel(nn.Module):
    """Embedding, blocks, a last norm, and logits over the vocabulary.
    A causal model (`config.causal`) predicts the next token: labels are the input ids, shifted
    inside. A masked model sees both directions; its labels, not shifted, are for their own place.
    """

    # For model/fast: true of this class, but not of subclasses, which may compute something else.
    follows_decoding_plan = True

    @checked
    def __init__(self, config: ModelConfig):
        super().__init__()
        require_memory(config)
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
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
        cache=None,
        last_logits_only: bool = False,
    ) -> ModelOutput:
        """input_ids (batch, sequence) int64 -> ModelOutput.

        attention_mask    (batch, past + sequence) 1 or True at real tokens; past: held by the cache
        labels            (batch, sequence) int64, -100 where there is nothing to predict
        cache             a KVCache to read from and to extend (causal models only)
        last_logits_only  logits (batch, 1, vocab) of the last position: all that generation needs

        ValueError or TypeError names what does not fit the model, or the other arguments.
        """
        require_bool("last_logits_only", last_logits_only)
        fits = labels is None or not last_logits_only
        require(fits, "last_logits_only", True, "False with labels")
        hidden, output = self._read(input_ids, attention_mask, labels, cache)
        if last_logits_only:
            hidden = hidden[:, -1:]  # (batch, 1, hidden_size)
        logits = self.head(hidden)  # (batch, sequence, vocab)
        return replace(output, logits=logits, loss=self._loss(logits, labels))

    def hidden_states(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple:
        """What the model knows about each token, (batch, sequence, hidden_size) after the last
        norm, and a ModelOutput without logits: for task heads. Errors as in `forward`."""
        return self._read(input_ids, attention_mask)

    def generate(self, input_ids: Tensor, max_new_tokens: int, **options) -> Tensor:
        """Continue input_ids (batch, sequence); options of `moe_lib.model.generation.Writer`."""
        from moe_lib.model.generation import generate

        return generate(self, input_ids, max_new_tokens, **options)

    def stream(self, input_ids: Tensor, max_new_tokens: int, **options) -> Iterator:
        """The same, one token at a time with its routing; see `moe_lib.model.generation.stream`."""
        from moe_lib.model.generation import stream

        return stream(self, input_ids, max_new_tokens, **options)

    def _read(self, input_ids: Tensor, attention_mask, labels=None, cache=None) -> tuple:
        """The residual stream after the last norm, and what the blocks gave beside it."""
        config = self.config
        require_tensor("input_ids", input_ids, device=self.device)
        check_ids(input_ids, attention_mask, cache, config)
        if labels is not None:
            check_labels(labels, input_ids, config, IGNORED)

        batch, length = input_ids.shape
        past = 0 if cache is None else cache.length
        if attention_mask is None:
            positions, real = torch.arange(past, past + length, device=input_ids.device)[None], None
        else:  # padding does not count, on whichever side it stands
            positions = (attention_mask.long().cumsum(1) - 1).clamp(min=0)[:, past:]
            real = attention_mask[:, past:].bool()  # (batch, sequence)
        sizes = config.rotary_dim, config.rope_theta, config.rope_scaling
        angles = rotary_angles(positions, *sizes)  # (batch or 1, sequence, rotary_dim / 2)
        visible = visible_keys(config.causal, length, attention_mask, past)

        x, routings = self.embedding(input_ids), []  # (batch, sequence, hidden_size)
        for layer in self.layers:
            x, routing = layer(x, angles, visible, cache, input_ids, real)
            routings.append(routing)
        balance_loss = torch.zeros(())
        if cache is None:
            marks = None if real is None else real.flatten()  # (tokens,)
            n_sequences = batch if config.seq_aux else 1
            balance_loss = total_balance_loss(routings, config, n_sequences, marks)
        return self.norm(x), ModelOutput(None, None, balance_loss.to(x.device), routings)

    def _loss(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        if labels is None:
            return None
        if self.config.causal:  # position t predicts label t + 1; moving the logits would copy them
            labels = F.pad(labels[:, 1:], (0, 1), value=IGNORED)  # (batch, sequence)
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)

"""An encoder of transformers as the base of a task head: BERT and its kin, plain or upcycled."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.interop.upcycling import UpcycledBalance, upcycled_layers
from moe_lib.model.language_model import ModelOutput
from moe_lib.validation import NonNegative, checked, require_tensor


@dataclass(frozen=True)
class EncoderSizes:
    """What heads and `finetune` ask of a base's configuration."""

    hidden_size: int
    vocab_size: int
    initializer_range: float
    max_position_embeddings: int | None
    causal: bool = False
    bias_update_speed: float = 0.0  # upcycled routers have no selection bias


def _is_encoder(config) -> bool:
    """Can transformers predict masked words with such a model? Then it sees both sides of each."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES


class TransformersEncoder(nn.Module):
    """What a head reads of an encoder of transformers: its last hidden states and, where
    `upcycle_transformers` gave it experts, their routing.

    SequenceClassifier(model, n_labels) makes one by itself; make it yourself to choose

    balance_factor  times the expert-level balance loss of the upcycled layers, summed (1 for each
                    where it is even): what `finetune` adds to the loss

    Raises TypeError for something that is no model of transformers, ValueError for a decoder, an
    encoder with a decoder, or a model with a head of its own.
    """

    @checked
    def __init__(self, model: nn.Module, balance_factor: NonNegative = 0.01):
        super().__init__()
        config = getattr(model, "config", None)
        wants = "an encoder of transformers"
        named = hasattr(config, "model_type") and hasattr(model, "get_input_embeddings")
        require(named, "model", type(model).__name__, wants, TypeError)
        sees_both = _is_encoder(config) and not getattr(config, "is_decoder", False)
        require(sees_both, "model", type(model).__name__, wants)
        alone = not getattr(config, "is_encoder_decoder", False)
        require(alone, "model", f"{type(model).__name__}, with a decoder", wants)
        bare = model.base_model is model
        require(bare, "model", type(model).__name__, f"{wants} without a head (AutoModel)")
        self.model, self.balance_factor = model, balance_factor
        self.config = EncoderSizes(
            config.hidden_size,
            config.vocab_size,
            getattr(config, "initializer_range", 0.02),
            getattr(config, "max_position_embeddings", None),
        )
        self.upcycled = next(upcycled_layers(model), None) is not None

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    @property
    def embedding(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def hidden_states(
        self, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, ModelOutput]:
        """input_ids, attention_mask (batch, sequence) -> the last hidden states (batch, sequence,
        hidden_size), and an output that holds the balance loss times its factor and the routing of
        each layer of experts. Raises ValueError for ids outside the vocabulary, and for texts
        longer than the encoder has positions."""
        sizes = self.config
        require_tensor(
            "input_ids", input_ids, ("batch", "sequence"), "whole", low=0, high=sizes.vocab_size - 1
        )
        length, longest = input_ids.shape[1], sizes.max_position_embeddings
        fits = longest is None or length <= longest
        require(fits, "input_ids", f"{length} tokens", f"at most {longest}")
        with UpcycledBalance(self.model) if self.upcycled else nullcontext() as balance:
            output = self.model(input_ids=input_ids, attention_mask=attention_mask)
            if self.upcycled:
                loss = self.balance_factor * balance(attention_mask)
                routing = balance.routing()
        hidden = output.last_hidden_state
        if not self.upcycled:
            loss, routing = hidden.new_zeros(()), []
        return hidden, ModelOutput(None, None, loss, routing)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The last hidden states alone, (batch, sequence, hidden_size)."""
        return self.hidden_states(input_ids, attention_mask)[0]

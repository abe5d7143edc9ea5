"""Small changes of a text's embeddings: where they enter the model, and how large they are."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.model_inputs import check_ids
from moe_lib.modules import bare
from moe_lib.tuning.arguments import Batch, ModelOrHead
from moe_lib.validation import checked, require_tensor


def base_of(model: nn.Module) -> LanguageModel:
    """The language model of a head, or the model itself."""
    model = bare(model)
    return model if isinstance(model, LanguageModel) else bare(model.base)


@checked
@contextmanager
def perturbed(model: ModelOrHead, delta: Tensor) -> Iterator[None]:
    """Within the `with` block, delta is added to what the embedding gives.

    delta  (batch, sequence, hidden_size) of finite numbers, of the batch that goes through the
           model; gradients reach it

    The table of embeddings itself is never touched, so there is nothing to restore: after the block
    the model is exactly what it was, also after an error. Raises ValueError, when the model runs,
    for a delta of another shape.
    """

    require_tensor("delta", delta, ("batch", "sequence", "hidden_size"), "floating", finite=True)

    def add(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        require(
            delta.shape == output.shape, "delta", tuple(delta.shape), f"shape {tuple(output.shape)}"
        )
        return output + delta.to(output.dtype)

    handle = base_of(model).embedding.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def zeros_like_embeddings(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """delta = 0 for a batch, (batch, sequence, hidden_size)."""
    base, ids = base_of(model), batch["input_ids"]
    require(
        ids.dim() == 2, "input_ids", tuple(ids.shape), "shape (batch, sequence): one text per row"
    )
    return torch.zeros(*ids.shape, base.config.hidden_size, device=base.device)


def real_tokens(batch: dict[str, Tensor]) -> Tensor:
    """(batch, sequence, 1) float, 0 at padding: padding is no part of a text, and is never
    perturbed."""
    mask = batch.get("attention_mask")
    return (torch.ones_like(batch["input_ids"]) if mask is None else mask)[..., None].float()


def text_norm(delta: Tensor) -> Tensor:
    """‖delta‖₂ of each text over all of its tokens: (batch, sequence, d) -> (batch, 1, 1)."""
    return delta.flatten(1).norm(dim=1)[:, None, None]


def to_norm(gradient: Tensor, radius: float) -> Tensor:
    """radius · g / ‖g‖ for each text; 0 where g is 0: no direction is better than another there."""
    norm = text_norm(gradient)
    return torch.where(
        norm > 0, radius * gradient / norm.clamp(min=1e-30), torch.zeros_like(gradient)
    )


def into_ball(delta: Tensor, radius: float) -> Tensor:
    """The projection Π: texts whose norm is over radius are scaled back to it, the others stay."""
    norm = text_norm(delta)
    return torch.where(norm > radius, radius * delta / norm.clamp(min=1e-30), delta)


def random_direction(delta: Tensor, batch: dict[str, Tensor], radius: float, seed: int) -> Tensor:
    """A random perturbation of norm `radius` per text, nothing at padding: the control of every
    attack.

    All directions are equally likely (normal numbers, scaled).
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(delta.shape, generator=generator).to(delta.device)
    return to_norm(noise * real_tokens(batch), radius)


@checked
@torch.no_grad()
def embedding_norms(model: ModelOrHead, batch: Batch) -> Tensor:
    """‖embeddings‖₂ of each text over its real tokens, (batch,): what a radius is compared with."""
    base = base_of(model)
    check_ids(batch["input_ids"].to(base.device), batch.get("attention_mask"), None, base.config)
    hidden = base.embedding(batch["input_ids"].to(base.device))
    return text_norm(hidden * real_tokens(batch).to(hidden.device)).flatten()

"""What fine-tuning does beside its task: memory that it needs, what the model forgets, which
choices of experts change.

Everything is read from tensors and model outputs; nothing is hooked into.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model_inputs import check_vocabulary
from moe_lib.modules import eval_mode
from moe_lib.training import evaluate
from moe_lib.tuning.arguments import Model, require_batch, require_list
from moe_lib.validation import Count, Text, Tokenizer, checked, require_tensor, whole

MEGABYTE = 1_000_000


@checked
def pretraining_domains(
    model: Model,
    tokenizer: Tokenizer,
    *,
    corpus: Text = "mixture",
    rows: Count = 8,
    length: Annotated[int, whole(2)] = 64,
) -> dict[str, list[dict]]:
    """Held-out text of each domain of a corpus -> {domain: evaluation batches}, at most `rows` rows
    of `length` tokens.

    A causal model predicts the next token, a masked one the masked tokens; masks are always the
    same. Raises ValueError for a corpus that is not known.
    """
    from moe_lib.text import encode_corpus, evaluation_batches, load_corpus

    check_vocabulary(tokenizer, model.config)
    documents = load_corpus(corpus, split="heldout")
    names = documents["domain"]
    batches = {}
    for domain in sorted(set(names)):
        part = documents.select([index for index, name in enumerate(names) if name == domain])
        ids = encode_corpus(part, tokenizer, length).input_ids
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))[:rows]
        batches[domain] = evaluation_batches(
            ids[order],
            32,
            objective="causal" if model.config.causal else "masked",
            tokenizer=tokenizer,
        )
    return batches


@checked
@torch.no_grad()
def domain_losses(model: Model, domains: Mapping[str, Iterable[dict]]) -> dict[str, float]:
    """Loss in nats per predicted token of each domain, in eval mode, with whatever is attached to
    the model."""
    require(len(domains) > 0, "domains", "no domains", "at least one, each with its batches")
    for name, batches in domains.items():
        usable = isinstance(batches, Iterable) and not isinstance(batches, Mapping)
        require(usable, f"domains[{name!r}]", batches, "an iterable of batches", TypeError)
        for batch in batches if isinstance(batches, list | tuple) else ():
            require_batch(f"domains[{name!r}]", batch, "labels")
    return {name: evaluate(model, batches) for name, batches in domains.items()}


@checked
@torch.no_grad()
def expert_choices(
    model: Model, input_ids: Tensor, attention_mask: Tensor | None = None
) -> list[Tensor]:
    """One (tokens, E) bool per MoE layer: which experts each token chose. Padding is left out; []
    for a dense model.

    input_ids, attention_mask (batch, sequence).
    """
    device = model.device
    mask = None if attention_mask is None else attention_mask.to(device)
    with eval_mode(model):
        _, side = model.hidden_states(input_ids.to(device), mask)
    layers = []
    for routing in side.routing:
        if routing is not None:
            table = torch.zeros_like(routing.logits, dtype=torch.int64)
            table.scatter_add_(
                1, routing.experts, routing.choices().long()
            )  # a column without a choice adds 0
            layers.append((table > 0)[slice(None) if mask is None else mask.flatten().bool()].cpu())
    return layers


def routing_change(before: list[Tensor], after: list[Tensor]) -> float:
    """The share of the choices (token, expert) of `before` that are gone in `after`: 0 all the
    same, 1 all other ones.

    Both from `expert_choices`, on the same text. NaN for dense models. Raises ValueError for other
    shapes.
    """
    for name, layers in (("before", before), ("after", after)):
        require_list(name, layers, "what expert_choices gives")
        for number, layer in enumerate(layers):
            require_tensor(f"{name}[{number}]", layer, ("tokens", "E"), bool)
    shapes = [tuple(layer.shape) for layer in before]
    require(
        shapes == [tuple(layer.shape) for layer in after],
        "after",
        [tuple(x.shape) for x in after],
        f"{shapes}",
    )
    choices = sum(int(layer.sum()) for layer in before)
    gone = sum(int((old & ~new).sum()) for old, new in zip(before, after, strict=True))
    return gone / choices if choices else float("nan")


def trainable_parameters(model: nn.Module, attached=None) -> int:
    """Numbers that training moves: those of the method (its own count, if it has one) and those of
    the head.

    A method may train a part of a tensor only, and knows how large it is.
    """
    if hasattr(attached, "n_trainable") and hasattr(model, "base"):
        head = [
            parameter
            for name, parameter in model.named_parameters()
            if not name.startswith("base.")
        ]
        return int(attached.n_trainable) + sum(p.numel() for p in head if p.requires_grad)
    if hasattr(attached, "n_trainable"):
        return int(attached.n_trainable)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def state_bytes(model: nn.Module) -> int:
    """Bytes of all weights and buffers, of a gradient and of AdamW's two moments for each tensor
    that is trained.

    Counted from the tensors, for float32 training it is 4 bytes · (all + 3 · trained).
    """
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.nbytes for t in tensors) + 3 * sum(
        p.nbytes for p in model.parameters() if p.requires_grad
    )


def activation_bytes(model: nn.Module, batch: dict[str, Tensor]) -> int:
    """Bytes that one forward pass over `batch` keeps for its backward pass; each storage once,
    parameters not.

    What autograd saves is counted, the same on every machine. (The peak of the process says little:
    memory that earlier runs gave back counts in it.)
    """
    device = next(model.parameters()).device
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    kept: dict[
        int, Tensor
    ] = {}  # the tensors stay alive until counted, or an address could stand for two of them

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in own:
            kept[address] = tensor
        return tensor

    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        with (
            eval_mode(model, training=True),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            output = model(**batch)
    size = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del output
    return size

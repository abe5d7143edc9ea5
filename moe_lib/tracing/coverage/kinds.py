"""Of which kind a parameter is: of attention, a router, an expert …"""

from collections.abc import Iterator

from torch import nn

from moe_lib.model import LanguageModel, MoELayer
from moe_lib.modules import bare, plain_name
from moe_lib.tracing.hugging_face import find_layers

KINDS = (
    "embeddings",
    "attention",
    "router",
    "shared experts",
    "routed experts",
    "dense feed-forward",
    "norms",
    "head",
    "other",
)
_ATTENTION = ("attn", "attention", "mixer", "mamba", "linear_attn", "indexer", "conv")
_DENSE = ("mlp", "ffn", "feed_forward", "ff")
_SAVED = "original_module"  # where peft keeps a module that it trains a copy of


class Kinds:
    """Sorts the parameters of one model by their names and by the modules that own them."""

    def __init__(self, model: nn.Module):
        self.routers, self.experts = _places(model)
        inner = bare(model)
        self.embedding, self.head = _ends(inner)

    def of(self, name: str, owner: nn.Module, tensor: nn.Parameter) -> str:
        """name   of the parameter, as `base_name` gives it; owner: the module that holds it"""
        parts = name.split(".")
        if tensor is self.embedding or isinstance(owner, nn.Embedding):
            return "embeddings"
        if tensor is self.head or parts[0] in ("lm_head", "output_head"):
            return "head"
        if any(part.startswith("shared_") or part == "shared" for part in parts[1:]):
            return "shared experts"
        if _within(name, self.routers):
            return "router"
        if _within(name, self.experts):
            return "routed experts"
        if "norm" in type(owner).__name__.lower() or "norm" in parts[-2 if len(parts) > 1 else 0]:
            return "norms"
        if any(piece in part for part in parts for piece in _ATTENTION):
            return "attention"
        if any(part.startswith(_DENSE) for part in parts):
            return "dense feed-forward"
        return "other"


def base_name(name: str) -> str:
    """The name of a parameter in the model without what peft puts around its modules."""
    parts = plain_name(name).split(".")
    return ".".join(part for part in parts if part != _SAVED)


def _within(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _places(model: nn.Module) -> tuple[set[str], set[str]]:
    """Names of the routers and of the modules with routed experts, by `base_name`."""
    inner = bare(model)
    routers, experts = set(), set()
    names = {id(module): base_name(name) for name, module in inner.named_modules()}
    for router, expert in _pairs(inner):
        routers |= {names[id(router)]} if router is not None else set()
        experts |= {names[id(expert)]} if expert is not None else set()
    return routers, experts


def _pairs(inner: nn.Module) -> Iterator[tuple[nn.Module | None, nn.Module | None]]:
    if isinstance(inner, LanguageModel):
        for layer in inner.modules():
            if isinstance(layer, MoELayer):
                yield layer.router, layer.experts
        return
    for layer in find_layers(inner):
        whole = type(layer.block).__name__ == "DogeCDMoE"  # keys, and experts beside them
        experts = layer.experts or next(
            (part for name, part in layer.block.named_children() if name == "experts"), None
        )
        if experts is None and type(layer.block).__name__ == "JetMoeMoE":
            experts = layer.block  # two stacks of matrices and a bias, beside the router
        yield (layer.block if whole else layer.router), experts


def _ends(inner: nn.Module) -> tuple[object, object]:
    """The weights of the embedding and of the head; the head's is None where both are one."""
    found = []
    for method in ("get_input_embeddings", "get_output_embeddings"):
        try:
            module = getattr(inner, method)()
        except (AttributeError, NotImplementedError):
            module = None
        found.append(getattr(bare(module) if module is not None else None, "weight", None))
    embedding, head = found
    return embedding, None if head is embedding else head

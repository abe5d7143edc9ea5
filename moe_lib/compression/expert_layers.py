"""What every compression asks first: which layers of a model have experts."""

from torch import nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel, MoELayer
from moe_lib.modules import bare


def expert_layers(model: nn.Module, argument: str = "model") -> dict[int, MoELayer]:
    """{layer: its MoELayer} of a LanguageModel. TypeError for another model, ValueError for a
    dense one."""
    model = bare(model)
    kind = type(model).__name__
    require(isinstance(model, LanguageModel), argument, kind, "a moe_lib LanguageModel", TypeError)
    layers = {index: bare(block.feed_forward) for index, block in enumerate(model.layers)}
    found = {index: layer for index, layer in layers.items() if isinstance(layer, MoELayer)}
    require(bool(found), argument, "a model without experts", "one with experts")
    return found

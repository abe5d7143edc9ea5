"""Which layers of a model have experts, and how many: what an engine's answer does not say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.shapes_only import shapes_only

OURS = "moe_lib"  # the model_type of our own folders


@dataclass(frozen=True)
class MoELayers:
    """The MoE layers whose routing was returned, in the order of the model.

    indices    their numbers in the model
    names      of the modules that hold router and experts
    n_experts  routed experts of each
    n_shared   shared experts of each
    n_layers   layers of the model, dense ones included; None where nothing says it
    """

    indices: tuple[int, ...]
    names: tuple[str, ...]
    n_experts: int
    n_shared: int = 0
    n_layers: int | None = None

    @classmethod
    def of(
        cls,
        config: Any,
        rows: int,
        layers: Sequence[int] | None,
        n_experts: int | None,
        largest: int,
    ) -> "MoELayers":
        """What `config` says, else what the arguments say, else the least that the routing needs.

        rows     layers in the arrays
        largest  the largest expert number in them
        """
        if config is None:
            indices = tuple(range(rows)) if layers is None else tuple(layers)
            _check_numbers(indices, rows)
            names = tuple(f"layers.{index}" for index in indices)
            return cls(indices, names, largest + 1 if n_experts is None else n_experts)
        both = {"layers": layers, "n_experts": n_experts}
        given = [name for name, value in both.items() if value is not None]
        require(not given, ", ".join(given), "given", "left out beside a config, which says it")
        found = cls.of_config(config)
        wants = f"{len(found.indices)}, the MoE layers of the config: {list(found.indices)}"
        require(len(found.indices) == rows, "experts", f"{rows} layers of routing", wants)
        return found

    @classmethod
    def of_config(cls, config: Any) -> "MoELayers":
        """What a configuration says: of transformers, a ModelConfig, a dict, a model's folder."""
        return _of_model(config)


def _check_numbers(indices: tuple[int, ...], rows: int) -> None:
    require(len(indices) == rows, "layers", f"{len(indices)} numbers", f"one per layer ({rows})")
    rising = all(a < b for a, b in zip(indices, indices[1:], strict=False))
    require(rising, "layers", list(indices), "rising numbers, each once")


def _of_model(config: Any) -> MoELayers:
    """Read off a model of this configuration that has shapes and no memory."""
    if isinstance(config, ModelConfig):
        indices = tuple(filter(config.is_moe_layer, range(config.num_hidden_layers)))
        names = tuple(f"layers.{index}.feed_forward" for index in indices)
        require(bool(indices), "config", "a dense model", "a model with experts")
        shared = config.n_shared_experts
        return MoELayers(indices, names, config.n_routed_experts, shared, config.num_hidden_layers)
    from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

    from moe_lib.tracing.hugging_face import find_layers, number_of_shared
    from moe_lib.tracing.traced_inputs import n_layers

    if isinstance(config, str | Path):
        config = _read(Path(config))
        if isinstance(config, ModelConfig):
            return _of_model(config)
    if isinstance(config, dict):
        kind = config.get("model_type")
        require(isinstance(kind, str), "config", config, "a model_type of transformers")
        try:
            config = AutoConfig.for_model(**config)
        except ValueError as error:
            raise ValueError(
                f"config: got model_type {kind!r}; wants one of transformers"
            ) from error
    wants = "a configuration of transformers, a ModelConfig, a dict, or the folder of a model"
    require(isinstance(config, PretrainedConfig), "config", config, wants, TypeError)
    with shapes_only():
        model = AutoModelForCausalLM.from_config(config)
    watched = [layer for layer in find_layers(model) if not layer.in_attention]
    require(bool(watched), "config", type(config).__name__, "a model with experts")
    return MoELayers(
        tuple(layer.index for layer in watched),
        tuple(layer.name for layer in watched),
        _number_of_experts(watched[0]),
        number_of_shared(model, watched[0]),
        n_layers(model),
    )


def _read(path: Path) -> Any:
    """The configuration in a folder or a config.json: ours or transformers'."""
    from moe_lib.files import read_json

    file = path / "config.json" if path.is_dir() else path
    require(file.is_file(), "config", str(path), "a folder that holds config.json, or such a file")
    found = read_json(file)
    if found.get("model_type", OURS) != OURS:
        return found
    return ModelConfig.from_dict({n: value for n, value in found.items() if n != "model_type"})


def _number_of_experts(layer) -> int:
    """Experts of a layer: the first dimension of its router's or its experts' weights."""
    for module in (layer.router, layer.experts):
        for name in ("num_experts", "n_routed_experts", "num_local_experts"):
            value = getattr(module, name, None)
            if type(value) is int and value > 0:
                return value
    raise ValueError(f"config: got {layer.name} without a number of experts; wants n_experts")

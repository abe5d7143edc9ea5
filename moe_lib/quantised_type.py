"""What a folder of few bits says it is, so that every other loader refuses it in one line."""

from pathlib import Path

QUANTISED_TYPE = "moe_lib_quantised"  # its model_type


def refuse_quantised(path: Path, model_type: object) -> None:
    """ValueError naming the config.json `path`, and its loader, if it says QUANTISED_TYPE."""
    if model_type == QUANTISED_TYPE:
        loader = "moe_lib.compression.load_quantised"
        raise ValueError(f"{path}: a quantised checkpoint; wants {loader} to open it")

"""What folders that are no plain checkpoint say they are, the model_type of their config.json, so
that every loader opens them rightly or refuses them in one line."""

from pathlib import Path

QUANTISED_TYPE = "moe_lib_quantised"  # written by compression.save_quantised
UPCYCLED_TYPE = "moe_lib_upcycled"  # written by interop.save_upcycled


def refuse_quantised(path: Path, model_type: object) -> None:
    """ValueError naming the config.json `path`, and its loader, if it says QUANTISED_TYPE."""
    if model_type == QUANTISED_TYPE:
        loader = "moe_lib.compression.load_quantised"
        raise ValueError(f"{path}: a quantised checkpoint; wants {loader} to open it")

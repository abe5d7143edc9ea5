"""The rows of a training's history as TensorBoard event files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from moe_lib.parallel.ranks import here


@contextmanager
def tensorboard_log(folder: Path | None) -> Iterator[Callable[[dict], None]]:
    """A function that logs a row; it does nothing without a folder, nor on any but the first
    rank."""
    if folder is None or not here().first:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter  # optional, and slow to import

    writer = SummaryWriter(str(folder))

    def log(row: dict) -> None:
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(name, value, row["step"])

    try:
        yield log
    finally:
        writer.close()

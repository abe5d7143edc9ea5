"""Where the course keeps what it ships: the `data/` folder beside the package."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "data"
CHECKPOINTS = DATA / "checkpoints"

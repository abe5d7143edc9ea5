"""Training: balance, the loop, checkpoints."""

from moe_lib.model import expert_balance_loss, load_entropy, max_violation
from moe_lib.training.checkpoints import find_checkpoint, load_checkpoint, save_checkpoint
from moe_lib.training.diagnosis import TrainingDiverged
from moe_lib.training.evaluation import evaluate, measure
from moe_lib.training.loop import StepReport, TrainingRun, train
from moe_lib.training.optimiser import make_optimiser, warmup_cosine

__all__ = [
    "StepReport",
    "TrainingDiverged",
    "TrainingRun",
    "evaluate",
    "expert_balance_loss",
    "find_checkpoint",
    "load_checkpoint",
    "load_entropy",
    "make_optimiser",
    "max_violation",
    "measure",
    "save_checkpoint",
    "train",
    "warmup_cosine",
]

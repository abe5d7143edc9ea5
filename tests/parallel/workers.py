"""What the processes of a launch do in these tests: one launch, many checks."""

from moe_lib import train
from moe_lib.parallel import join, recompute_activations, shard_experts, whole_experts
from tests.training.small import RandomBatches, make_model, weights_of

SETTINGS = dict(steps=3, progress=False)


def flat(model):
    return weights_of(whole_experts(model)).tolist()


def compared(changes, batches, sharded, recomputed=False, **options):
    """Weights, losses and MaxVio after a few steps on all ranks."""
    model = make_model(**changes)
    if sharded:
        shard_experts(model)
    if recomputed:
        recompute_activations(model)
    run = train(model, batches, **SETTINGS, **options)
    columns = ("loss", "balance_loss", "max_violation", "gradient_norm", "tokens")
    rows = {name: run.history[name].tolist() for name in columns}
    return {"weights": flat(model), **rows}


def trainings(cases):
    join(timeout=60)
    return {name: compared(**case_arguments(case)) for name, case in cases.items()}


def case_arguments(case):
    case = dict(case)
    batches = RandomBatches(rows=case.pop("rows", 8), masked=case.pop("masked", False))
    return dict(changes=case.pop("changes", {}), batches=batches, **case)

"""`train` in two processes against one process: weights, losses, MaxVio, in one launch."""

import pytest
import torch

from moe_lib.parallel import launch
from tests.parallel.workers import case_arguments, compared, trainings

pytestmark = pytest.mark.usefixtures("one_thread")
WITH_BIAS = dict(router="biased_topk", bias_update_speed=0.01)
DEVICES = dict(router="group_limited", n_group=2, topk_group=1)
DEVICES |= dict(communication_loss_alpha=0.02, device_loss_alpha=0.05)
CASES = {
    "data parallel": dict(sharded=False),
    "expert parallel": dict(sharded=True),
    "balance over the batch": dict(sharded=True, changes=dict(seq_aux=False, aux_loss_alpha=0.05)),
    "selection bias": dict(sharded=True, changes=WITH_BIAS),
    "rows that do not divide, few labels": dict(sharded=True, rows=5, masked=True),
    "fewer rows than ranks": dict(sharded=True, rows=1),
    "accumulation": dict(sharded=True, accumulation=3, masked=True),
    "router z-loss": dict(sharded=False, changes=dict(router_z_loss_alpha=0.01), accumulation=2),
    "limited to one device": dict(sharded=True, changes=DEVICES),
    "activations recomputed": dict(sharded=True, recomputed=True),
}


@pytest.fixture(scope="module")
def on_two():
    return [one.result for one in launch(trainings, 2, dict(cases=CASES), timeout=300)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(on_two, name):
    one = compared(**case_arguments(CASES[name] | dict(sharded=False, recomputed=False)))
    assert on_two[0][name] == on_two[1][name]  # the same on every rank, bit for bit
    for what, values in one.items():
        both = torch.tensor(on_two[0][name][what]), torch.tensor(values)
        torch.testing.assert_close(*both, atol=1e-6, rtol=1e-6, msg=f"{what} of {name}")
    assert max(one["max_violation"]) > 0.1  # it could have differed

"""`train` in two processes against one process: weights, losses, MaxVio."""

import pytest
import torch

from tests.parallel.cases import CASES
from tests.parallel.workers import case_arguments, compared

pytestmark = pytest.mark.usefixtures("one_thread")
ALONE = dict(sharded=False, recomputed=False, spread=False)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(on_two, name):
    one = compared(**case_arguments(CASES[name] | ALONE))
    assert on_two[0][name] == on_two[1][name]  # the same on every rank, bit for bit
    for what, values in one.items():
        both = torch.tensor(on_two[0][name][what]), torch.tensor(values)
        torch.testing.assert_close(*both, atol=1e-6, rtol=1e-6, msg=f"{what} of {name}")
    assert max(one["max_violation"]) > 0.1  # it could have differed


def test_ranks_stop_after_the_same_step(on_two):
    assert on_two[0]["interrupted"] == on_two[1]["interrupted"] == [2, True]


def test_ranks_and_experts_that_do_not_fit_are_refused(on_two):
    more, odd = on_two[0]["refusals"]
    assert more == "ranks: got 2; wants at most one for each of 1 experts"
    assert odd == "ranks: got 2; wants a divisor of the number of experts (3)"

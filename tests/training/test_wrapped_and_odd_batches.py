"""What `train` and `finetune` make of models behind wrappers and of batches that are not even."""

import pytest
import torch
from torch import nn

from moe_lib import train
from moe_lib.text import Batches
from moe_lib.training.step import OptimiserStep
from moe_lib.tuning import finetune
from tests.training.small import make_model

IDS = torch.arange(40).view(5, 8) % 7


class Given:
    """Batches that are given one by one, again and again."""

    def __init__(self, *batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def at(self, step):
        return self.batches[step % len(self.batches)]


def batch(rows=4, labels=True):
    ids = IDS[:rows]
    return {"input_ids": ids, "labels": ids if labels else torch.full_like(ids, -100)}


def losses(wrap, run=train, **options):
    torch.manual_seed(0)
    model = make_model()
    options = {"steps": 3, "learning_rate": 1e-2, "progress": False} | options
    history = run(wrap(model), Batches(IDS, 2, seed=0), **options).history
    return history["loss"].tolist(), model


@pytest.mark.parametrize("run", [train, finetune])
def test_a_copy_on_one_device_trains_as_the_model_itself(run):
    plain, model = losses(lambda model: model, run)
    wrapped, other = losses(nn.DataParallel, run)
    assert wrapped == plain
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("run", [train, finetune])
def test_copies_on_several_devices_are_refused(run):
    model = nn.DataParallel(make_model())
    model.device_ids = [0, 1]
    with pytest.raises(ValueError, match="model: got .DataParallel over 2 devices.; wants"):
        run(model, Batches(IDS, 2), steps=1)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), "mini-v2", None])
@pytest.mark.parametrize("run", [train, finetune])
def test_what_is_no_model_is_refused(run, model):
    with pytest.raises(TypeError, match="model: got"):
        run(model, Batches(IDS, 2), steps=1)


def test_a_model_compiled_ahead_of_time_trains_to_the_same():
    plain, _ = losses(lambda model: model, steps=2)
    compiled, _ = losses(lambda model: torch.compile(model, backend="aot_eager"), steps=2)
    assert compiled == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("run", [train, finetune])
def test_the_last_batch_may_be_smaller_than_the_parts(run):
    history, _ = losses(lambda model: model, run, accumulation=2)  # 2, 2 and 1 rows
    assert all(loss > 0 for loss in history)


@pytest.mark.parametrize("run", [train, finetune])
def test_a_part_of_a_batch_without_a_label_weighs_nothing(run):
    half = batch()
    half["labels"] = half["labels"].clone()
    half["labels"][2:] = -100
    torch.manual_seed(0)
    parts = run(make_model(), Given(half), steps=1, accumulation=2, progress=False).history
    torch.manual_seed(0)
    whole = run(make_model(), Given(half), steps=1, accumulation=1, progress=False).history
    assert parts["loss"][0] == pytest.approx(whole["loss"][0], rel=1e-5)


@pytest.mark.parametrize("run", [train, finetune])
def test_an_epoch_without_a_label_is_refused_and_a_batch_is_not(run):
    empty = batch(labels=False)
    some = run(make_model(), Given(empty, batch()), steps=2, progress=False).history
    assert some["loss"][0] == 0 < some["loss"][1]
    for batches, steps in ((Given(empty, empty), 5), (Given(empty), 1), (Given(*[empty] * 9), 2)):
        with pytest.raises(ValueError, match="batches: got .no label in . batches.; wants"):
            run(make_model(), batches, steps=steps, progress=False)


def test_a_step_of_its_own_takes_a_batch_without_a_label():
    model = make_model()
    step = OptimiserStep(model, torch.optim.SGD(model.parameters(), lr=0.1), 1, 2, 1.0)
    assert step(batch(labels=False), 0).loss == 0

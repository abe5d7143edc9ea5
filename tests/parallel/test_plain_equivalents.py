"""What saves memory or time in one process, against the plain run: accumulation, bfloat16 with the
router in float32, activations computed again."""

import copy

import pytest
import torch

from moe_lib import train
from moe_lib.parallel import recompute_activations
from moe_lib.training import evaluate
from tests.training.small import RandomBatches, make_model, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")
BF16 = 2**-8  # relative rounding error of one bfloat16 operation, at most


def after(steps=3, model=None, **options):
    model = make_model() if model is None else model
    return train(model, RandomBatches(), steps=steps, progress=False, **options)


def saved_bytes(model, ids):
    """Bytes of the tensors that a forward pass keeps for the backward pass, each storage once."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(ids, labels=ids)
    del output
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    return sum(size for place, size in kept.items() if place not in weights)


def test_accumulated_parts_are_one_batch_to_rounding():
    plain, parts = after(), after(accumulation=4)
    torch.testing.assert_close(
        weights_of(parts.model), weights_of(plain.model), atol=1e-6, rtol=1e-6
    )
    assert parts.history["loss"].tolist() == pytest.approx(plain.history["loss"].tolist(), abs=1e-6)


def test_recomputed_activations_change_no_bit_and_save_memory():
    plain, again = after(), after(model=recompute_activations(make_model()))
    assert torch.equal(weights_of(again.model), weights_of(plain.model))
    assert again.history["loss"].tolist() == plain.history["loss"].tolist()
    assert again.history["max_violation"].tolist() == plain.history["max_violation"].tolist()
    ids = RandomBatches().at(0)["input_ids"]
    deep = make_model(num_hidden_layers=8).train()
    before = saved_bytes(deep, ids)
    assert saved_bytes(recompute_activations(deep), ids) < before / 4
    assert saved_bytes(recompute_activations(deep, on=False), ids) == before
    copied = copy.deepcopy(recompute_activations(deep))
    assert list(copied.state_dict()) == list(deep.state_dict())


def test_recomputing_works_with_drops_by_lot_and_with_a_cache():
    options = dict(capacity_factor=1.0, capacity_per="device", never_drop_share=0.5, n_group=2)
    torch.manual_seed(1)
    plain = after(model=make_model(**options))
    torch.manual_seed(1)
    again = after(model=recompute_activations(make_model(**options)))
    assert plain.history["dropped_share"].max() > 0
    ids = RandomBatches().at(0)["input_ids"][:1, :4]
    written = [run.model.generate(ids, 5).tolist() for run in (plain, again)]
    assert again.history["loss"].tolist() == plain.history["loss"].tolist()
    assert written[0] == written[1]


def test_bfloat16_keeps_the_router_and_the_weights_in_float32():
    model = make_model()
    ids = RandomBatches().at(0)["input_ids"]
    with torch.autocast("cpu", torch.bfloat16):
        routing = model(ids).routing[0]
    assert routing.logits.dtype == routing.scores.dtype == torch.float32
    plain, low = after(steps=20), after(steps=20, bf16=True)
    assert {p.dtype for p in low.model.parameters()} == {torch.float32}
    batches = [RandomBatches().at(1000 + n) for n in range(4)]
    loss, low_loss = (evaluate(run.model, batches) for run in (plain, low))
    assert low_loss == pytest.approx(loss, rel=5 * BF16) and low_loss != loss
    first, low_first = plain.history["loss"][0], low.history["loss"][0]
    assert low_first == pytest.approx(first, rel=BF16)  # before any step: one forward pass apart


def test_bfloat16_flips_few_choices():
    """Near ties may fall the other way; in a random model of this size few of them do."""
    model = make_model(num_hidden_layers=3, n_routed_experts=8)
    ids = RandomBatches(rows=32).at(0)["input_ids"]
    with torch.no_grad():
        exact = [routing.experts.sort().values for routing in model(ids).routing]
        with torch.autocast("cpu", torch.bfloat16):
            low = [routing.experts.sort().values for routing in model(ids).routing]
    flips = [float((a != b).any(1).float().mean()) for a, b in zip(exact, low, strict=True)]
    assert max(flips) < 0.1

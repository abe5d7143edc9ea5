"""The selection bias of DeepSeek-V3 in training: right sign, once per step, whatever cuts the step
into pieces."""

import copy

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from moe_lib import LanguageModel, ModelConfig, load_checkpoint, save_checkpoint, train
from moe_lib.model import make_router, max_violation
from moe_lib.text import Batches

SPEED = 0.01


def make(**changes):
    torch.manual_seed(0)
    settings = dict(
        vocab_size=40,
        router="biased_topk",
        scoring_func="sigmoid",
        norm_topk_prob=True,
        bias_update_speed=SPEED,
        initializer_range=0.3,
    )
    return LanguageModel(ModelConfig.preset("tiny", **{**settings, **changes}))


def batches(rows=8):
    return Batches(torch.randint(0, 40, (32, 12), generator=torch.Generator().manual_seed(1)), rows)


def biases(model):
    return torch.stack([layer.feed_forward.router.selection_bias for layer in model.layers])


def run(model, **options):
    return train(model, batches(), progress=False, **{"steps": 1, **options})


def test_one_step_by_hand():
    router = make_router("biased_topk", 4, 4, 2)
    router.update_bias(torch.tensor([5, 3, 4, 0]), 0.5)
    assert router.selection_bias.tolist() == [-0.5, 0.0, -0.5, 0.5]  # the mean is 3
    with pytest.raises(TypeError, match="router: got 'TopKRouter'"):
        make_router("topk", 4, 4, 2).update_bias(torch.ones(4), 0.5)
    with pytest.raises(ValueError, match="load: got"):
        router.update_bias(torch.ones(3), 0.5)


def test_training_moves_the_bias_once_per_step_by_the_load_of_that_step():
    model, seen = make(), []
    run(
        model,
        steps=3,
        callback=lambda report: seen.append((report.loads, biases(model).clone())) and False,
    )
    previous = torch.zeros_like(seen[0][1])
    for loads, after in seen:
        expected = torch.stack([SPEED * (load.double().mean() - load).sign() for load in loads])
        assert torch.allclose(after - previous, expected.float(), atol=1e-7)
        previous = after


def test_accumulation_makes_no_difference():
    """Four parts of a step move the bias once, by the load of all four."""
    whole, parts = make(), make()
    run(whole)
    run(parts, accumulation=4)
    assert torch.equal(biases(whole), biases(parts)) and biases(whole).abs().max() == pytest.approx(
        SPEED
    )


def test_activation_checkpointing_makes_no_difference():
    """With checkpointed activations the forward pass runs twice, the load counts once."""
    plain, recomputing = make(), make()
    passes = []
    for layer in recomputing.layers:
        forward = layer.forward
        layer.register_forward_pre_hook(lambda *_: passes.append(1))
        layer.forward = lambda *args, f=forward: checkpoint(
            lambda *inner: (passes.append(1), f(*inner))[1], *args, use_reentrant=False
        )
    reports = []
    run(plain, callback=lambda report: reports.append(report.loads) and False)
    run(recomputing, callback=lambda report: reports.append(report.loads) and False)
    assert len(passes) == 3 * len(plain.layers), (
        "a call, its forward pass, and once more for the backward pass"
    )
    assert all(torch.equal(a, b) for a, b in zip(*reports, strict=True))
    assert torch.equal(biases(plain), biases(recomputing))


def test_eval_and_a_speed_of_zero_leave_the_bias_alone():
    model = make(bias_update_speed=0.0)
    run(model, steps=2)
    assert not biases(model).any()
    model = make()
    model.train()
    model(torch.randint(0, 40, (2, 12)))
    assert not biases(model).any(), (
        "a forward pass alone must not move it: only train() does, after the step"
    )


@pytest.mark.parametrize("scoring_func", ["softmax", "sigmoid"])
def test_the_bias_evens_a_lopsided_load_out(scoring_func):
    torch.manual_seed(0)
    router = make_router("biased_topk", 16, 8, 2, scoring_func=scoring_func)
    with torch.no_grad():
        router.weight[0] += 0.3  # tokens with a positive mean nearly all like expert 0
    tokens = torch.randn(200, 512, 16) + 0.5
    violation = []
    for batch in tokens:
        load = router(batch).load()
        violation.append(max_violation(load))
        router.update_bias(load, 0.01)
    assert violation[0] > 2 and sum(violation[-20:]) / 20 < 0.2 * violation[0]


def test_factors_can_change_while_it_trains():
    model = make(bias_update_speed=0.0)

    def switch_on(report):
        if report.row["step"] == 1:
            model.config = model.config.replace(bias_update_speed=SPEED, aux_loss_alpha=0.5)

    history = run(model, steps=4, callback=switch_on).history
    assert (history["balance_loss"][:2] == 0).all() and (history["balance_loss"][2:] > 0).all()
    assert biases(model).abs().max() == pytest.approx(2 * SPEED) or biases(
        model
    ).abs().max() == pytest.approx(SPEED)


def test_bias_is_saved_exactly_and_a_resumed_run_goes_on(tmp_path):
    model = make(router="biased_topk")
    run(model, steps=2, folder=tmp_path / "run")
    save_checkpoint(model, tmp_path / "saved", dtype=torch.bfloat16)
    again, _ = load_checkpoint(tmp_path / "saved")
    assert torch.equal(biases(again), biases(model)), (
        "stored in float32 also when weights are bfloat16"
    )
    resumed = make()
    assert len(run(resumed, steps=2, folder=tmp_path / "run").history) == 2
    assert torch.equal(biases(resumed), biases(model)) and biases(model).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_bias_stays_in_float32_in_a_model_of_half_precision(dtype, tmp_path):
    """Near 1 a bfloat16 moves by steps of 0.008: a speed of 0.001 would be rounded away."""
    model, names = make(bias_update_speed=0.001), set(make().state_dict())
    start = torch.tensor([1.0, -1.0] * 4)
    for layer in model.layers:
        layer.feed_forward.router.selection_bias.copy_(start)
    for moved in (model.to(dtype), copy.deepcopy(model).to("cpu"), model.float().to("cpu", dtype)):
        router = moved.layers[0].feed_forward.router
        assert router.weight.dtype == dtype and router.selection_bias.dtype == torch.float32
        assert torch.equal(router.selection_bias, start) and set(moved.state_dict()) == names
        load = router(torch.randn(32, 64, dtype=dtype)).load()
        for _ in range(3):
            router.update_bias(load, 0.001)
        expected = start + 0.003 * (load.double().mean() - load).sign()
        assert torch.allclose(router.selection_bias, expected.float(), atol=1e-6)
        router.selection_bias.copy_(start)
    router.update_bias(load, 0.001)
    again, _ = load_checkpoint(save_checkpoint(model, tmp_path))
    assert torch.equal(biases(again), biases(model)) and not torch.equal(biases(again)[0], start)
    twin = make().to(dtype)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(biases(twin), biases(model))
    assert make().double().layers[0].feed_forward.router.selection_bias.dtype == torch.float64
    on_meta = make().to("meta", dtype).layers[0].feed_forward.router.selection_bias
    assert on_meta.is_meta and on_meta.dtype == torch.float32


def test_bias_stands_still_where_its_router_is_frozen():
    model = make()
    model.layers[0].feed_forward.router.requires_grad_(False)
    run(model)
    assert not biases(model)[0].any() and biases(model)[1].any()


def test_history_tells_entropy_and_drops():
    torch.manual_seed(0)
    config = ModelConfig.preset("tiny", vocab_size=40, capacity_factor=0.5, initializer_range=0.3)
    history = run(LanguageModel(config), steps=2).history
    assert history["dropped_share"].between(0.2, 0.8).all()
    assert history["load_entropy"].between(0.3, 0.999).all()
    assert run(make(), steps=1).history["dropped_share"].item() == 0


def test_hash_table_survives_a_checkpoint(tmp_path):
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig.preset("tiny", vocab_size=40, router="hash")).eval()
    model.layers[0].feed_forward.router.table.copy_(
        model.layers[0].feed_forward.router.table.flip(0)
    )
    save_checkpoint(model, tmp_path)
    again, _ = load_checkpoint(tmp_path)
    ids = torch.arange(40)[None]
    assert again.layers[0].feed_forward.router.table.dtype == torch.int64
    assert torch.allclose(again(ids).logits, model(ids).logits)

"""The training loop against torch's own parts, and its refusals."""

import math

import pandas as pd
import pytest
import torch

from moe_lib import train
from moe_lib.training import TrainingDiverged, evaluate, make_optimiser, warmup_cosine
from tests.training.small import RandomBatches, make_model, weights_of


@pytest.fixture
def batches():
    return RandomBatches()


def test_it_learns_and_keeps_a_history(batches):
    run = train(
        make_model(),
        batches,
        steps=80,
        learning_rate=1e-2,
        evaluation=[batches.at(1000)],
        evaluate_every=20,
        progress=False,
    )
    history = run.history
    assert isinstance(history, pd.DataFrame) and history["step"].tolist() == list(range(80))
    assert history["loss"].iloc[0] == pytest.approx(math.log(20), abs=0.2)
    assert history["loss"].iloc[-1] < 0.7 and history["heldout_loss"].iloc[-1] < 0.7
    assert history["heldout_loss"].notna().sum() == 4
    assert not run.interrupted and not run.model.training


def test_two_steps_equal_torch_by_hand(batches):
    """The loop is AdamW, clipping, warm-up and cosine, and the sum of both losses: nothing else."""
    ours = train(
        make_model(), batches, steps=2, learning_rate=1e-2, warmup_steps=1, clip=0.5, progress=False
    ).model
    model = make_model()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0}],
        betas=(0.9, 0.95),
    )
    for step, rate in ((0, 1e-2), (1, 1e-3)):  # one step of warm-up, then the end of the cosine
        for group in optimiser.param_groups:
            group["lr"] = rate
        output = model(**batches.at(step))
        (output.loss + output.balance_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()
        optimiser.zero_grad()
    assert torch.allclose(weights_of(ours), weights_of(model), atol=1e-7)


@pytest.mark.parametrize("parts", [2, 3, 8])
@pytest.mark.parametrize("causal", [True, False])
def test_accumulation_equals_the_large_batch(parts, causal):
    batches = RandomBatches(masked=not causal)
    whole = train(make_model(causal=causal), batches, steps=3, progress=False)
    in_parts = train(
        make_model(causal=causal), batches, steps=3, accumulation=parts, progress=False
    )
    assert torch.allclose(weights_of(in_parts.model), weights_of(whole.model), atol=2e-5)
    assert in_parts.history["loss"].tolist() == pytest.approx(
        whole.history["loss"].tolist(), abs=1e-5
    )
    assert in_parts.history["max_violation"].tolist() == pytest.approx(
        whole.history["max_violation"].tolist()
    )


def test_balance_loss_is_trained_on_and_logged_apart(batches):
    def trained(alpha):
        return train(
            make_model(aux_loss_alpha=alpha), batches, steps=30, learning_rate=1e-2, progress=False
        )

    without, with_it = trained(0.0), trained(1.0)
    assert (without.history["balance_loss"] == 0).all() and (
        with_it.history["balance_loss"] > 0.5
    ).all()
    assert with_it.history["loss"].iloc[0] == without.history["loss"].iloc[0], (
        "the logged loss excludes it"
    )
    assert (
        with_it.history["max_violation"].iloc[-5:].mean()
        < without.history["max_violation"].iloc[-5:].mean()
    )


def test_no_decay_on_vectors():
    model = make_model()
    groups = make_optimiser(model, 1e-3, 0.1).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.0 if "norm" in name else 0.1), name


def test_schedule_by_hand():
    factors = [warmup_cosine(step, 10, 4, 0.1) for step in range(10)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[6] == pytest.approx(0.55) and factors[9] == pytest.approx(0.1)
    assert all(a > b for a, b in zip(factors[3:], factors[4:], strict=False))


def test_evaluate_weighs_tokens_not_batches():
    model = make_model(causal=False).eval()
    one = RandomBatches(rows=1, masked=True).at(0)
    many = RandomBatches(rows=8, masked=True).at(1)
    counts = [int((b["labels"] != -100).sum()) for b in (one, many)]
    losses = [model(**b).loss.item() for b in (one, many)]
    expected = (losses[0] * counts[0] + losses[1] * counts[1]) / sum(counts)
    assert counts[0] != counts[1] and evaluate(model, [one, many]) == pytest.approx(
        expected, abs=1e-5
    )


def test_bf16_autocast_stays_near_float32(batches):
    exact = train(make_model(), batches, steps=5, progress=False).history["loss"]
    rounded = train(make_model(), batches, steps=5, bf16=True, progress=False).history["loss"]
    assert (
        rounded.tolist() == pytest.approx(exact.tolist(), abs=0.05)
        and rounded.tolist() != exact.tolist()
    )


def test_nan_in_a_parameter_stops_with_step_and_cause(batches):
    model = make_model()

    def poison(report):
        if report.row["step"] == 3:
            with torch.no_grad():
                model.layers[1].feed_forward.experts.down_proj[2, 0, 0] = torch.nan

    with pytest.raises(
        TrainingDiverged, match="step 4: .*parameter layers.1.feed_forward.experts.down_proj"
    ):
        train(model, batches, steps=10, progress=False, callback=poison)


def test_nan_in_an_activation_names_the_module(batches):
    model = make_model()
    model.layers[1].attention_norm.register_forward_hook(lambda module, args, output: output / 0)
    with pytest.raises(TrainingDiverged, match="step 0: .*output of layers.1.attention_norm"):
        train(model, batches, steps=10, progress=False)


def test_infinite_gradient_keeps_the_weights(batches):
    model = make_model()
    before = weights_of(model).clone()
    model.norm.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(
        TrainingDiverged, match="step 0: the gradient is not finite .*gradient of norm.weight"
    ):
        train(model, batches, steps=10, progress=False)
    assert torch.equal(weights_of(model), before)


def test_callback_sees_loads(batches):
    reports = []
    train(make_model(), batches, steps=2, progress=False, callback=reports.append)
    assert len(reports) == 2 and len(reports[0].loads) == 2
    assert int(reports[0].loads[0].sum()) == 8 * 12 * 2


def test_tensorboard_files_appear(batches, tmp_path):
    train(make_model(), batches, steps=2, progress=False, tensorboard=tmp_path)
    assert any(
        path.name.startswith("events.out") and path.stat().st_size > 100
        for path in tmp_path.iterdir()
    )


def test_progress_bar_shows_loss_and_max_violation(batches, capsys):
    train(make_model(), batches, steps=2)
    shown = capsys.readouterr().err
    assert "loss=" in shown and "MaxVio=" in shown


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(steps=0), "steps: got 0"),
        (dict(steps=2, learning_rate=0.0), "learning_rate: got 0.0"),
        (dict(steps=2, accumulation=9), "accumulation: got 9; wants at most the rows of a batch"),
        (dict(steps=2, clip=-1), "clip: got -1"),
    ],
)
def test_bad_settings_are_named(batches, settings, message):
    with pytest.raises(ValueError, match=message):
        train(make_model(), batches, progress=False, **settings)
    with pytest.raises(TypeError, match="batches: got 'list'"):
        train(make_model(), [batches.at(0)], steps=1, progress=False)

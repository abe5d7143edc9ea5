"""What `train` promises around its steps: parts without labels, resuming, compiled models, refusals
before the first step."""

import json
import math

import pytest
import torch

from moe_lib import load_checkpoint, save_checkpoint, train
from moe_lib.files import read_tensors, write_tensors
from moe_lib.training import TrainingDiverged, evaluate
from tests.training.small import RandomBatches, make_model, weights_of

STATE = "training_state.safetensors"


class SomeUnlabelled:
    """Batches of which some rows, and whole batches now and then, have no label."""

    def __init__(self, *rows, whole=None):
        self.rows, self.whole = list(rows), whole

    def at(self, step):
        batch = RandomBatches().at(step)
        batch["labels"][self.rows] = -100
        if step == self.whole:
            batch["labels"][:] = -100
        return batch


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_without_a_label_weigh_nothing_but_are_balanced(parts):
    batches = SomeUnlabelled(0, 3, 4, 5)
    whole, cut = (
        train(make_model(aux_loss_alpha=0.1), batches, steps=3, accumulation=n, progress=False)
        for n in (1, parts)
    )
    assert torch.allclose(weights_of(cut.model), weights_of(whole.model), atol=2e-5)
    for column in ("loss", "balance_loss", "max_violation"):
        assert cut.history[column].tolist() == pytest.approx(
            whole.history[column].tolist(), abs=1e-5
        )


def test_a_batch_without_any_label_moves_by_the_balance_loss_alone():
    def after_the_first(alpha):
        model, weights = make_model(aux_loss_alpha=alpha), []
        keep = lambda report: weights.append(weights_of(model))  # noqa: E731
        options = dict(weight_decay=0.0, progress=False, callback=keep)
        run = train(model, SomeUnlabelled(whole=0), steps=2, **options)
        assert run.history["loss"].tolist()[0] == 0.0 < run.history["loss"].tolist()[1]
        return weights[0]

    assert torch.equal(after_the_first(0.0), weights_of(make_model()))
    assert not torch.equal(after_the_first(0.1), weights_of(make_model()))


def test_a_measured_batch_without_labels_weighs_nothing_and_an_epoch_of_them_is_refused():
    model, batch = make_model(), RandomBatches().at(0)
    empty = {**batch, "labels": torch.full_like(batch["labels"], -100)}
    assert evaluate(model, [empty, batch, empty]) == evaluate(model, [batch])
    with pytest.raises(ValueError, match="batches: got 'no label'; wants at least one"):
        evaluate(model, [empty, empty])


def test_a_last_smaller_batch_is_cut_into_fewer_parts():
    class Shrinking:
        def at(self, step):
            return {
                name: part[: (8, 2, 1)[step]] for name, part in RandomBatches().at(step).items()
            }

    whole, cut = (
        train(make_model(), Shrinking(), steps=3, accumulation=parts, progress=False)
        for parts in (1, 4)
    )
    assert torch.allclose(weights_of(cut.model), weights_of(whole.model), atol=2e-5)


def test_every_module_keeps_its_mode_when_measured():
    model = make_model().train()
    model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    evaluate(model, [RandomBatches().at(0)])
    assert [module.training for module in model.modules()] == modes


def begun(folder, model=None, **options):
    """A run that stopped after two of six steps."""
    train(
        make_model() if model is None else model,
        RandomBatches(),
        steps=6,
        folder=folder,
        progress=False,
        callback=lambda report: report.row["step"] == 1,
        **options,
    )


def resumed(folder, model):
    return train(model, RandomBatches(), steps=6, folder=folder, progress=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(causal=False), "causal was True, is False"),
        (dict(hidden_size=32), "hidden_size was 16, is 32"),
        (dict(num_hidden_layers=1), "num_hidden_layers was 2, is 1"),
        (dict(num_experts_per_tok=1), "num_experts_per_tok was 2, is 1"),
        (dict(aux_loss_alpha=0.5), "aux_loss_alpha was"),
    ],
)
def test_a_state_of_another_model_is_refused_and_the_model_stays_as_it_was(tmp_path, changes, said):
    begun(tmp_path)
    model = make_model(seed=3, **changes)
    before = weights_of(model).clone()
    with pytest.raises(ValueError, match=f"{STATE}: the run there had another model .*{said}"):
        resumed(tmp_path, model)
    assert torch.equal(weights_of(model), before)


def test_a_state_of_another_class_or_with_other_frozen_weights_is_refused(tmp_path):
    begun(tmp_path)
    model = make_model()
    model.embedding.requires_grad_(False)
    with pytest.raises(ValueError, match="frozen was .*is .'embedding.weight'."):
        resumed(tmp_path, model)
    model = make_model()
    model.__class__ = type("Other", (type(model),), {})
    with pytest.raises(ValueError, match="class was 'LanguageModel', is 'Other'"):
        resumed(tmp_path, model)


def without(name):
    return lambda tensors, metadata: tensors.pop(name)


def put(name, value):
    return lambda tensors, metadata: tensors.__setitem__(name, value)


MOMENT = "optimiser.exp_avg.norm.weight"


@pytest.mark.parametrize(
    "damage",
    [
        without("model.norm.weight"),
        without("random.cpu"),
        without("optimiser.exp_avg_sq.norm.weight"),
        put(MOMENT, torch.zeros(15)),
        put("model.norm.weight", torch.zeros(16, dtype=torch.int64)),
        put("model.norm.weight", torch.full((16,), math.nan)),
        put(MOMENT, torch.full((16,), math.inf)),
        put("random.cpu", torch.zeros(7, dtype=torch.uint8)),
        put("random.cpu", torch.zeros(7)),
        put("model.somebody.weight", torch.zeros(3)),
        lambda tensors, metadata: metadata.pop("settings"),
        lambda tensors, metadata: metadata.pop("model"),
        lambda tensors, metadata: metadata.pop("history"),
        lambda tensors, metadata: metadata.update(history='{"a": '),
        lambda tensors, metadata: metadata.update(history="[1, 2]"),
        lambda tensors, metadata: metadata.update(history=json.dumps([{}] * 7)),
        lambda tensors, metadata: metadata.update(kind="something else"),
    ],
)
def test_a_damaged_state_is_named_and_the_model_stays_as_it_was(tmp_path, damage):
    begun(tmp_path)
    tensors, metadata = read_tensors(tmp_path / STATE)
    damage(tensors, metadata)
    write_tensors(tmp_path / STATE, tensors, metadata)
    model = make_model(seed=4)
    before = weights_of(model).clone()
    with pytest.raises(ValueError, match=STATE):
        resumed(tmp_path, model)
    assert torch.equal(weights_of(model), before)


def test_a_compiled_model_trains_and_saves_under_plain_names_and_resumes_plain(tmp_path):
    plain = train(make_model(), RandomBatches(), steps=6, progress=False).model
    compiled = torch.compile(make_model(), backend="eager")
    begun(tmp_path / "run", compiled)
    names = read_tensors(tmp_path / "run" / STATE)[0]
    assert not any("_orig_mod" in name for name in names)
    run = resumed(tmp_path / "run", make_model(seed=1))
    assert torch.allclose(weights_of(run.model), weights_of(plain), atol=1e-6)
    save_checkpoint(compiled, tmp_path / "model")
    again, _ = load_checkpoint(tmp_path / "model")
    assert torch.equal(weights_of(again), weights_of(compiled))


def test_a_callback_that_raises_leaves_the_state_of_the_steps_done(tmp_path):
    def fail(report):
        if report.row["step"] == 2:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        train(
            make_model(), RandomBatches(), steps=6, folder=tmp_path, progress=False, callback=fail
        )
    run = resumed(tmp_path, make_model(seed=8))
    assert run.history["step"].tolist() == list(range(6))
    whole = train(make_model(), RandomBatches(), steps=6, progress=False).model
    assert torch.equal(weights_of(run.model), weights_of(whole))


BAD = {
    "steps": (0, 2.5, True, "3"),
    "learning_rate": (0, -1, math.nan, math.inf, "high", None, True),
    "min_learning_rate_ratio": (-1, 1.5, math.nan, "low"),
    "warmup_steps": (-1, 1.5, "few"),
    "weight_decay": (-1, math.nan, math.inf, "some"),
    "clip": (0, -1, math.nan, math.inf, None, "tight"),
    "accumulation": (0, 1.5, 9, True),
    "evaluate_every": (0, -2, 1.5),
    "evaluation": (3, iter([])),
    "save_every": (0, 2.5),
    "resume": (1, "yes"),
    "progress": (None, 1),
    "bf16": (1, "bf16"),
    "device": ("abacus", 3.5, "cuda:99"),
    "callback": ("print", 3),
    "folder": (3, ["a"]),
    "tensorboard": (3,),
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, value) for n, all_ in BAD.items() for value in all_]
)
def test_wrong_arguments_are_named_before_the_first_step(name, value):
    model = make_model()
    before = weights_of(model).clone()
    settings = {"steps": 2, "progress": False, name: value}
    with pytest.raises((ValueError, TypeError), match=f"^{name}: got .*wants"):
        train(model, RandomBatches(), **settings)
    assert torch.equal(weights_of(model), before)


@pytest.mark.parametrize("name", ["folder", "tensorboard"])
def test_a_folder_that_cannot_be_written_is_named_before_the_first_step(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    model = make_model()
    before = weights_of(model).clone()
    with pytest.raises(ValueError, match=f"{name}: got .*file.*wants a folder that can be written"):
        train(model, RandomBatches(), steps=1, progress=False, **{name: tmp_path / "file"})
    assert torch.equal(weights_of(model), before)


def test_wrong_models_and_batches_are_named():
    for model in (torch.nn.Linear(2, 2), {"a": 1}, None):
        with pytest.raises(TypeError, match="model: got"):
            train(model, RandomBatches(), steps=1, progress=False)
    for batches in (3, [RandomBatches().at(0)], None):
        with pytest.raises(TypeError, match="batches: got"):
            train(make_model(), batches, steps=1, progress=False)
    for batch in ([1, 2], {"input_ids": torch.zeros(1, 4, dtype=torch.int64)}):
        source = type("Source", (), {"at": lambda self, step, batch=batch: batch})()
        with pytest.raises((ValueError, TypeError), match="batches: got"):
            train(make_model(), source, steps=1, progress=False)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_weights_warn_and_are_never_spoilt(kind):
    model = make_model().to(kind)
    try:
        with pytest.warns(UserWarning, match=f"model: its weights are {kind}"):
            train(model, RandomBatches(), steps=1, learning_rate=1e-4, progress=False)
    except TrainingDiverged as error:
        assert "step 0" in str(error)
    assert torch.isfinite(weights_of(model).float()).all()

"""Fine-tuning against hand-made steps of torch, its averages against plain sums, and a planted task
it must learn."""

import math
from dataclasses import dataclass
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F

from moe_lib.training import TrainingDiverged, warmup_cosine
from moe_lib.tuning import (
    Encoded,
    Examples,
    SequenceClassifier,
    SpanExtractor,
    TokenClassifier,
    finetune,
    measure,
    predict,
)
from tests.tuning.small import make_base, random_ids

V3_ROUTER = dict(
    router="biased_topk", scoring_func="sigmoid", norm_topk_prob=True, bias_update_speed=0.01
)


def planted(n, seed=0, shuffled=False, classes=2):
    """Texts of random tokens of unequal length; the class is which of the tokens 10, 11 stands
    somewhere in them."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for index in range(n):
        length = int(torch.randint(4, 10, (), generator=generator))
        ids = torch.randint(20, 60, (length,), generator=generator).tolist()
        ids[int(torch.randint(length, (), generator=generator))] = 10 + index % classes
        rows.append({"input_ids": ids, "labels": index % classes})
    if shuffled:
        order = torch.randperm(n, generator=generator).tolist()
        rows = [
            {**row, "labels": rows[other]["labels"]} for row, other in zip(rows, order, strict=True)
        ]
    return Encoded(rows, pad_token_id=0)


def test_a_planted_task_is_learnt_and_shuffled_labels_are_not():
    scores = {}
    for shuffled in (False, True):
        head = SequenceClassifier(make_base(initializer_range=0.1), 2)
        before = measure(head, Examples(planted(200, seed=1), 50))
        run = finetune(
            head, Examples(planted(100, shuffled=shuffled), 10), epochs=5, learning_rate=1e-2
        )
        assert run.model is head and not head.training and len(run.history) == 50
        scores[shuffled] = measure(head, Examples(planted(200, seed=1), 50))
        assert before["accuracy"] < 0.7
    assert scores[False]["accuracy"] > 0.9
    assert 0.3 < scores[True]["accuracy"] < 0.7  # chance is 0.5
    assert scores[True]["loss"] > scores[False]["loss"] + 0.3


def test_steps_are_those_of_a_hand_made_adamw_loop():
    batches = Examples(planted(12), 4)
    head, twin = (SequenceClassifier(make_base(aux_loss_alpha=0.1), 2) for _ in range(2))
    twin.load_state_dict(head.state_dict())
    run = finetune(
        head,
        batches,
        steps=4,
        learning_rate=1e-2,
        warmup_steps=2,
        weight_decay=0.1,
        clip=0.5,
        label_smoothing=0.1,
    )
    named = dict(twin.named_parameters())
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in named.values() if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in named.values() if p.dim() < 2], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    for step in range(4):
        batch = batches.at(step)
        output = twin(batch["input_ids"], batch["attention_mask"])
        loss = F.cross_entropy(output.logits, batch["labels"], label_smoothing=0.1)
        optimiser.zero_grad()
        (loss + output.balance_loss).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * warmup_cosine(step, 4, 2)
        optimiser.step()
        assert run.history["loss"][step] == pytest.approx(loss.item(), abs=1e-4)
        assert run.history["balance_loss"][step] == pytest.approx(
            output.balance_loss.item(), abs=1e-4
        )
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter, named[name], atol=1e-4, rtol=1e-3)


def token_rows():
    lengths = (3, 9, 4, 7, 5)
    return Encoded(
        [
            {
                "input_ids": random_ids(n, seed=n).tolist(),
                "labels": [i % 3 for i in range(n - 1)] + [-100],
            }
            for n in lengths
        ],
        0,
    )


@pytest.mark.parametrize("kind", ["sequence", "token", "span"])
def test_parts_of_a_batch_count_by_their_examples(kind):
    """Pitfall 17's family: five rows in two or three parts are not parts of equal weight."""
    make, encoded = {
        "sequence": (lambda base: SequenceClassifier(base, 2), planted(5)),
        "token": (lambda base: TokenClassifier(base, 3), token_rows()),
        "span": (
            SpanExtractor,
            Encoded([{**row, "labels": [row["labels"], 2]} for row in planted(5).rows], 0),
        ),
    }[kind]
    history, *others = (
        finetune(
            make(make_base()), Examples(encoded, 5), steps=2, accumulation=parts, balance=False
        ).history
        for parts in (1, 2, 3, 5)
    )
    for other in others:
        assert other["loss"].tolist() == pytest.approx(history["loss"].tolist(), abs=1e-5)
        assert other["gradient_norm"].tolist() == pytest.approx(
            history["gradient_norm"].tolist(), rel=1e-3
        )


def test_measured_loss_is_a_mean_over_examples_not_over_batches_nor_divided_twice():
    head, encoded = SequenceClassifier(make_base(), 2), planted(5)
    with torch.no_grad():
        single = [
            float(head(torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss)
            for row in encoded.rows
        ]
    mean = sum(single) / 5
    for size in (1, 2, 3, 5):
        assert measure(head, Examples(encoded, size))["loss"] == pytest.approx(mean, abs=1e-5)
    of_batches = (sum(single[:4]) / 4 + single[4]) / 2
    assert abs(of_batches - mean) > 1e-4  # the wrong means are other numbers
    tokens = TokenClassifier(make_base(), 3)
    rows = token_rows()
    with torch.no_grad():
        nll = [
            -tokens(torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)[i, label]
            for row in rows.rows
            for i, label in enumerate(row["labels"])
            if label >= 0
        ]
    assert measure(tokens, Examples(rows, 2))["loss"] == pytest.approx(
        float(sum(nll)) / len(nll), abs=1e-5
    )


def test_early_stopping_stops_and_puts_the_best_back(monkeypatch):
    head = SequenceClassifier(make_base(**V3_ROUTER), 2)
    script, seen = iter([0.9, 0.5, 0.7, 0.6, 0.4]), []

    def scripted(model, batches):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"loss": next(script)}

    # By its module: the name moe_lib.tuning.finetune is the function.
    monkeypatch.setattr(import_module("moe_lib.tuning.finetune"), "measure", scripted)
    run = finetune(
        head,
        Examples(planted(8), 4),
        steps=50,
        evaluate_every=2,
        validation=[],
        patience=2,
        learning_rate=0.01,
    )
    assert (
        run.best_step == 4 and run.restored and len(run.history) == 8
    )  # two measurements without a lower loss
    assert run.history["validation_loss"].dropna().tolist() == [0.9, 0.5, 0.7, 0.6]
    for name, tensor in head.state_dict().items():
        assert torch.equal(tensor, seen[1][name]), name  # buffers, such as the selection bias, too
    moved = [name for name in seen[1] if not torch.equal(seen[1][name], seen[3][name])]
    assert any("selection_bias" in name for name in moved) and "classifier.weight" in moved


def test_without_patience_the_last_model_stays():
    head = SequenceClassifier(make_base(), 2)
    run = finetune(
        head,
        Examples(planted(8), 4),
        epochs=2,
        validation=Examples(planted(6, seed=2), 4),
        learning_rate=0.1,
    )
    assert not run.restored and run.best_step in (2, 4) and len(run.history) == 4
    last = run.history["validation_loss"].dropna()
    assert len(last) == 2 and last.iloc[-1] == pytest.approx(
        measure(head, Examples(planted(6, seed=2), 4))["loss"]
    )
    assert run.history["validation_accuracy"].dropna().between(0, 1).all()


def test_dropout_is_off_when_measuring_and_seeded_when_training():
    encoded, losses = planted(8), []
    for seed in (0, 0, 1):
        head = SequenceClassifier(make_base(), 2, dropout=0.4)
        state = torch.get_rng_state()
        run = finetune(
            head, Examples(encoded, 4), steps=2, validation=Examples(encoded, 4), seed=seed
        )
        assert torch.equal(torch.get_rng_state(), state)  # nothing outside has moved
        losses.append(run.history["loss"].tolist())
        head.train()
        first = measure(head, Examples(encoded, 4))
        assert first == measure(head, Examples(encoded, 4)) and head.training
    assert losses[0] == losses[1] != losses[2]


def test_only_what_requires_a_gradient_moves_and_the_bias_of_a_frozen_router_does_not():
    head = SequenceClassifier(make_base(**V3_ROUTER), 2)
    head.base.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in head.base.state_dict().items()}
    finetune(head, Examples(planted(8), 4), steps=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.base.state_dict().items())
    head.base.requires_grad_(True)
    start = {
        name: tensor.clone()
        for name, tensor in head.base.state_dict().items()
        if "selection_bias" in name
    }
    finetune(head, Examples(planted(8), 4), steps=1, balance=False)
    assert all(torch.equal(tensor, head.base.state_dict()[name]) for name, tensor in start.items())
    finetune(head, Examples(planted(8), 4), steps=1)
    now = head.base.state_dict()
    assert start and any(not torch.equal(tensor, now[name]) for name, tensor in start.items())


def test_balance_false_leaves_the_balance_loss_out_of_the_gradient():
    norms = {}
    for alpha, balance in ((0.0, True), (5.0, False), (5.0, True)):
        head = SequenceClassifier(make_base(aux_loss_alpha=alpha), 2)
        row = finetune(head, Examples(planted(8), 8), steps=1, balance=balance).history.iloc[0]
        norms[alpha, balance] = row["gradient_norm"]
        assert (row["balance_loss"] > 0) == (alpha > 0)
    assert norms[0.0, True] == pytest.approx(norms[5.0, False], rel=1e-5)
    assert norms[5.0, True] > 1.5 * norms[0.0, True]


@dataclass
class OnlyTheNorm:
    """A method in small: trains the last norm, adds a loss, and notes when it is called."""

    def attach(self, model):
        model.requires_grad_(False)
        model.norm.weight.requires_grad_(True)
        self.model, self.calls = model, []
        return self

    def extra_loss(self):
        self.calls.append("extra")
        return 3.0 * self.model.norm.weight.sum()

    def before_step(self, step, steps):
        self.calls.append(
            f"before {step} of {steps}, gradient {self.model.norm.weight.grad is not None}"
        )
        self.gradient = self.model.norm.weight.grad.clone()

    def after_step(self, step, steps):
        self.calls.append("after")


def test_a_method_chooses_what_is_trained_and_is_called_around_the_step():
    head, plain = (SequenceClassifier(make_base(), 2) for _ in range(2))
    plain.load_state_dict(head.state_dict())
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    batch = Examples(planted(4), 4)
    run = finetune(head, batch, steps=1, method=OnlyTheNorm(), clip=100.0)
    assert run.attached.calls == ["extra", "before 0 of 1, gradient True", "after"]
    changed = {
        name for name, tensor in head.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == {"base.norm.weight", "classifier.weight", "classifier.bias"}
    plain(**batch.at(0)).loss.backward()
    torch.testing.assert_close(run.attached.gradient, plain.base.norm.weight.grad + 3.0)


def test_a_language_model_is_tuned_on_its_labels_alone():
    base, ids = make_base(causal=True), random_ids(6, 8)
    labels = ids.clone()
    labels[:, :4] = -100  # the prompt
    batches = type("Rows", (), {"at": lambda self, step: {"input_ids": ids, "labels": labels}})()
    run = finetune(base, batches, steps=30, learning_rate=2e-2, validation=[batches.at(0)])
    assert run.history["loss"].iloc[-1] < 0.5 * run.history["loss"].iloc[0]
    with torch.no_grad():
        logits = base(ids).logits[:, 3:-1]
        wanted = F.cross_entropy(logits.flatten(0, 1), ids[:, 4:].flatten())
    assert measure(base, [batches.at(0)])["loss"] == pytest.approx(float(wanted), abs=1e-5)
    with pytest.raises(ValueError, match="label_smoothing: got 0.1; wants 0 for a LanguageModel"):
        finetune(base, batches, steps=1, label_smoothing=0.1)


def test_predictions_carry_probabilities_in_order():
    head, encoded = SequenceClassifier(make_base(), 3), planted(7)
    found = predict(head, Examples(encoded, 3))
    assert found.probabilities.shape == (7, 3)
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(7))
    assert found.targets.tolist() == [row["labels"] for row in encoded.rows]
    for place, row in enumerate(encoded.rows):
        logits = head(torch.tensor([row["input_ids"]])).logits[0]
        torch.testing.assert_close(
            found.probabilities[place], logits.softmax(-1), atol=1e-5, rtol=1e-4
        )
    assert found.predicted.tolist() == found.probabilities.argmax(1).tolist()
    unlabelled = Encoded([{"input_ids": row["input_ids"]} for row in encoded.rows], 0)
    assert predict(head, Examples(unlabelled, 4)).targets is None
    tokens = predict(TokenClassifier(make_base(), 3), Examples(token_rows(), 2))
    assert (
        len(tokens.predicted)
        == sum(len(row["labels"]) - 1 for row in token_rows().rows)
        == len(tokens.targets)
    )
    with pytest.raises(TypeError, match="head: got 'SpanExtractor'"):
        predict(SpanExtractor(make_base()), [])


def test_callback_divergence_and_bad_settings():
    head, batches = SequenceClassifier(make_base(), 2), Examples(planted(8), 4)
    assert len(finetune(head, batches, steps=9, callback=lambda row: row["step"] == 3).history) == 3
    for settings, message in (
        (dict(), "steps: got .None, None."),
        (dict(steps=1, epochs=1), "steps: got .1, 1."),
        (dict(steps=1, patience=1), "patience: got 1; wants validation batches"),
        (dict(steps=1, accumulation=9), "accumulation: got 9"),
        (dict(steps=1, learning_rate=0.0), "learning_rate: got 0.0"),
        (dict(steps=1, validation=iter([])), "validation: got 'list_iterator'"),
    ):
        with pytest.raises(ValueError, match=message):
            finetune(head, batches, **settings)
    with torch.no_grad():
        head.classifier.weight[0, 0] = math.nan
    with pytest.raises(TrainingDiverged, match="step 1: the loss is nan"):
        finetune(head, batches, steps=2)

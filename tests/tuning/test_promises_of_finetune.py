"""What `finetune` and the savers promise around the steps: parts without labels, failed calls,
refusals, half precision, compiled models."""

import json
import math

import pytest
import torch

from moe_lib import save_checkpoint
from moe_lib.training import TrainingDiverged
from moe_lib.tuning import (
    Encoded,
    Examples,
    MultipleChoice,
    SequenceClassifier,
    SpanExtractor,
    TokenClassifier,
    encode_texts,
    finetune,
    load_head,
    measure,
    save_head,
)
from moe_lib.tuning.methods import LoRA, attached_to, load_adapter
from tests.tuning.small import make_base, random_ids
from tests.tuning.test_finetune import planted, token_rows


def partly_labelled():
    rows = token_rows().rows
    rows[1]["labels"] = [-100] * len(rows[1]["labels"])
    rows[4]["labels"] = [-100] * len(rows[4]["labels"])
    return Encoded(rows, 0)


@pytest.mark.parametrize("parts", [2, 5])
def test_rows_without_labels_weigh_nothing_in_a_head(parts):
    histories = [
        finetune(
            TokenClassifier(make_base(aux_loss_alpha=0.1), 3),
            Examples(partly_labelled(), 5),
            steps=2,
            accumulation=n,
        ).history
        for n in (1, parts)
    ]
    for column in ("loss", "balance_loss", "max_violation"):
        assert histories[0][column].tolist() == pytest.approx(
            histories[1][column].tolist(), abs=1e-5
        )
    head = TokenClassifier(make_base(), 3)
    one, several = (
        measure(head, Examples(partly_labelled(), size)) for size in (5, 1)
    )  # two batches of the one are empty
    assert one["loss"] == pytest.approx(several["loss"], abs=1e-5)
    assert one["accuracy"] == several["accuracy"]


def test_a_failing_call_takes_its_method_off_again():
    for options, error in (
        (dict(callback=lambda row: 1 / 0), ZeroDivisionError),
        (dict(accumulation=9), ValueError),
        (dict(learning_rate=1e-3, validation=[{"labels": torch.zeros(1)}]), Exception),
    ):
        head = SequenceClassifier(make_base(), 2)
        before = {name: tensor.clone() for name, tensor in head.base.state_dict().items()}
        with pytest.raises(error):
            finetune(head, Examples(planted(8), 4), steps=2, method=LoRA(rank=2), **options)
        assert attached_to(head.base) is None
        assert all(p.requires_grad for p in head.base.parameters())
        assert all(torch.equal(t, before[name]) for name, t in head.base.state_dict().items())
    attached = LoRA(rank=2).attach(head.base)  # one that stood there before stays
    with pytest.raises(ZeroDivisionError):
        finetune(
            head,
            Examples(planted(8), 4),
            steps=1,
            method=attached,
            callback=lambda row: 1 / 0,
        )
    assert attached_to(head.base) is attached


BAD = {
    "steps": (0, 2.5, True),
    "learning_rate": (0, math.nan, math.inf, "high"),
    "min_learning_rate_ratio": (-1, math.nan, 2),
    "weight_decay": (-1, math.inf),
    "clip": (0, -1, math.nan, None),
    "accumulation": (0, 1.5, 9),
    "label_smoothing": (1.0, -0.1, "some"),
    "balance": (1, "yes"),
    "progress": (None,),
    "validation": (3, iter([])),
    "evaluate_every": (0, -2, 1.5),
    "patience": (0, 1.5),
    "objective": (3,),
    "callback": (3, "print"),
    "seed": (-1, 1.5, True),
    "warmup_steps": (-1, 1.5),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_wrong_arguments_are_named(name, value):
    head = SequenceClassifier(make_base(), 2)
    settings = {"steps": 2, "validation": [], name: value}
    with pytest.raises((ValueError, TypeError), match=f"^{name}: got .*wants"):
        finetune(head, Examples(planted(8), 4), **settings)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "make", [SequenceClassifier, TokenClassifier, SpanExtractor, MultipleChoice]
)
def test_heads_stand_on_half_precision_bases(kind, make):
    base = make_base().to(kind)
    head = make(base, 3) if make in (SequenceClassifier, TokenClassifier) else make(base)
    ids, labels = random_ids(2, 6), torch.tensor([0, 1])
    if make is TokenClassifier:
        labels = torch.zeros(2, 6, dtype=torch.int64)
    elif make is SpanExtractor:
        labels = torch.tensor([[1, 2], [-1, -1]])
    elif make is MultipleChoice:
        ids = random_ids(2, 3, 6)
    output = head(ids, labels=labels)
    output.loss.backward()
    assert output.logits.dtype == torch.float32 and head.classifier.weight.grad.isfinite().all()
    with pytest.warns(UserWarning, match="model: its weights are"):
        try:
            finetune(
                head,
                type("B", (), {"at": lambda s, step: {"input_ids": ids, "labels": labels}})(),
                steps=1,
            )
        except TrainingDiverged:
            pass
    assert all(p.float().isfinite().all() for p in head.parameters())


def test_savers_ask_for_a_plain_model(tmp_path):
    base = make_base()
    head = SequenceClassifier(base, 2)
    attached = LoRA(rank=2).attach(base)
    for save in (
        lambda: save_checkpoint(base, tmp_path / "a"),
        lambda: save_head(head, tmp_path / "a"),
    ):
        with pytest.raises(ValueError, match="changed modules .*merge or detach"):
            save()
    assert not (tmp_path / "a").exists()
    attached.merge_and_unload()
    save_head(head, tmp_path / "a")


def test_cards_without_a_field_are_named(tmp_path):
    base = make_base()
    save_head(SequenceClassifier(base, 2), tmp_path, label_names=["a", "b"])
    attached = LoRA(rank=2).attach(base)
    attached.save(tmp_path)
    attached.detach()
    for file, fields, load in (
        ("head.json", ("settings", "label_names", "base"), lambda: load_head(tmp_path)),
        ("adapter.json", ("settings", "base"), lambda: load_adapter(tmp_path, base)),
    ):
        card = json.loads((tmp_path / file).read_text())
        for field in fields:
            for changed in ({k: v for k, v in card.items() if k != field}, {**card, field: 3}):
                (tmp_path / file).write_text(json.dumps(changed))
                with pytest.raises(ValueError, match=f"{file}: .*{field}"):
                    load()
        (tmp_path / file).write_text(json.dumps({**card, "settings": {"no": "such"}}))
        with pytest.raises(ValueError, match=f"{file}: settings"):
            load()
        (tmp_path / file).write_text(json.dumps(card))
        load()
    assert attached_to(base) is not None


def test_one_text_instead_of_a_list_is_refused(tokenizer):
    with pytest.raises(TypeError, match="texts: got 'one text'; wants a list"):
        encode_texts("one text", None, tokenizer)
    with pytest.raises(TypeError, match="max_length: got 5.5"):
        encode_texts(["one text"], None, tokenizer, max_length=5.5)


def test_a_compiled_head_is_tuned():
    plain, inner = (SequenceClassifier(make_base(), 2) for _ in range(2))
    inner.load_state_dict(plain.state_dict())
    runs = [
        finetune(head, Examples(planted(8), 8), steps=2)
        for head in (plain, torch.compile(inner, backend="eager"))
    ]
    assert runs[0].history["loss"].tolist() == pytest.approx(
        runs[1].history["loss"].tolist(), abs=1e-5
    )

"""Wrong inputs of a second tester who had seen no list, where more than one argument is needed."""

import random
import re

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, load_checkpoint, save_checkpoint, train
from moe_lib.files import read_tensors, write_tensors
from moe_lib.text import Batches, MaskingIds, load_tokenizer
from moe_lib.training import evaluate
from moe_lib.training.routing_record import RoutingRecord, read_routing_record
from moe_lib.tuning import (
    Examples,
    SequenceClassifier,
    encode_texts,
    finetune,
    pretraining_domains,
    save_head,
)
from moe_lib.tuning.comparison.cases import Case
from moe_lib.tuning.prompting import answer, answer_within, chat, score_choices
from moe_lib.tuning.robust import augment_texts
from moe_lib.tuning.robust.active import learn_actively
from moe_lib.tuning.robust.augmentation import InTurn, Synonyms, WordDropout
from moe_lib.tuning.tried_text import ClassifyText

IDS = torch.arange(10).view(2, 5)


def tiny(**changes) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny", vocab_size=50, **changes)).eval()


class At:
    """Batches that are the same at every step."""

    def __init__(self, **batch):
        self.batch = batch

    def at(self, step):
        return dict(self.batch)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("mixture")


# A tokenizer with more tokens than the model has rows in its embedding.


@pytest.mark.parametrize(
    "use",
    [
        lambda tokenizer, folder: save_checkpoint(tiny(), folder, tokenizer=tokenizer),
        lambda tokenizer, folder: save_head(SequenceClassifier(tiny(), 2), folder, tokenizer),
        lambda tokenizer, folder: pretraining_domains(tiny(), tokenizer),
        lambda tokenizer, folder: answer(tiny(), tokenizer, [chat("a")], max_new_tokens=2),
        lambda tokenizer, folder: answer_within(tiny(), tokenizer, [chat("a")], ["b"]),
        lambda tokenizer, folder: score_choices(tiny(), tokenizer, [chat("a")], ["b"]),
        lambda tokenizer, folder: ClassifyText(
            SequenceClassifier(tiny(), 2), tokenizer, ["a", "b"]
        ),
    ],
    ids=["checkpoint", "head", "domains", "answer", "answer_within", "score_choices", "classify"],
)
def test_a_tokenizer_of_a_larger_model(use, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="tokenizer: got '6144 tokens'; wants .*vocab_size"):
        use(tokenizer, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_with_the_tokenizer_of_a_larger_model(tokenizer, tmp_path):
    folder = save_checkpoint(tiny(), tmp_path)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="tokenizer.json: .*6144 tokens'; wants .*vocab_size"):
        load_checkpoint(folder)


@pytest.mark.parametrize("use", [answer_within, score_choices])
def test_a_masked_model_is_asked_for_an_answer(use, tokenizer):
    with pytest.raises(ValueError, match="model: got 'a masked language model'; wants a causal"):
        use(tiny(causal=False), tokenizer, [chat("a")], ["b"])


# Labels of another shape than the examples.


@pytest.mark.parametrize("labels", [torch.tensor([0, 1]), torch.tensor(1), IDS[:1], IDS[None]])
@pytest.mark.parametrize(
    "use",
    [
        lambda batch: finetune(tiny(), At(**batch), steps=1),
        lambda batch: evaluate(tiny(), [batch]),
        lambda batch: train(tiny(), At(**batch), steps=1, progress=False),
        lambda batch: evaluate(tiny(causal=False), [batch]),
    ],
    ids=["finetune", "evaluate", "train", "masked"],
)
def test_labels_of_another_shape(use, labels):
    with pytest.raises(ValueError, match="labels: got .*; wants "):
        use(dict(input_ids=IDS, labels=labels))


def test_a_head_with_labels_of_too_many_rows():
    batch = dict(input_ids=IDS, labels=torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match="labels: got .*3.*; wants a row for each"):
        finetune(SequenceClassifier(tiny(), 2), At(**batch), steps=1)


def test_what_the_model_does_not_take():
    batch = dict(input_ids=IDS, labels=IDS, token_type=IDS)
    for use in (
        lambda: train(tiny(), At(**batch), steps=1, progress=False),
        lambda: finetune(tiny(), At(**batch), steps=1),
        lambda: evaluate(tiny(), [batch]),
    ):
        with pytest.raises(ValueError, match="batches: .*token_type.*; wants some of input_ids"):
            use()


# Batches of another objective than the model's.

CAUSAL = Batches(torch.ones(4, 8, dtype=torch.int64), 2)
MASKED = Batches(
    torch.ones(4, 8, dtype=torch.int64), 2, objective="masked", tokenizer=MaskingIds(3, (), 50)
)


@pytest.mark.parametrize(("causal", "batches"), [(False, CAUSAL), (True, MASKED)])
def test_batches_of_another_objective(causal, batches):
    right = CAUSAL if causal else MASKED
    for name, use in {
        "batches": lambda model: train(model, batches, steps=1, progress=False),
        "evaluation": lambda model: train(model, right, steps=1, evaluation=batches),
        "batches ": lambda model: finetune(model, batches, steps=1),
        "validation": lambda model: finetune(model, right, steps=1, validation=batches),
    }.items():
        with pytest.raises(ValueError, match=f"{name.strip()}: got .objective .*config.causal"):
            use(tiny(causal=causal))


def test_a_model_without_numbers(tmp_path):
    for use in (
        lambda model: train(model, CAUSAL, steps=1, progress=False),
        lambda model: save_checkpoint(model, tmp_path / "new"),
    ):
        with pytest.raises(ValueError, match="model: got .*meta.*; wants"):
            use(tiny().to("meta"))


# Functions of readers that take or return something else.


@pytest.fixture
def examples(tokenizer):
    encoded = encode_texts(["one a", "two b"], [0, 1], tokenizer, label_names=["a", "b"])
    for row in encoded.rows:
        row["input_ids"] = [number % 50 for number in row["input_ids"]]
    return Examples(encoded, 2)


def test_a_callback_without_arguments(examples):
    for use in (
        lambda: train(tiny(), CAUSAL, steps=1, callback=lambda: None),
        lambda: finetune(SequenceClassifier(tiny(), 2), examples, steps=1, callback=lambda: None),
    ):
        with pytest.raises(TypeError, match=r"callback: got a function of \(\); wants a function"):
            use()


@pytest.mark.parametrize("returns", [None, 5, "loss"])
def test_an_objective_that_returns_no_output(examples, returns):
    head = SequenceClassifier(tiny(), 2)
    with pytest.raises(TypeError, match="objective: got .*; wants to return an output"):
        finetune(head, examples, steps=1, objective=lambda model, batch, options: returns)


def test_a_change_of_texts_with_other_arguments():
    with pytest.raises(TypeError, match="change: got a function of .*; wants a function of a text"):
        augment_texts(["a"], lambda text: text)
    for change in (WordDropout(), Synonyms(), InTurn([])):
        for argument, given in {"text": (5, random.Random(0)), "generator": ("text", 5)}.items():
            with pytest.raises(TypeError, match=f"{argument}: got .*; wants "):
                change(*given)
    with pytest.raises(ValueError, match="table: got ''; wants words"):
        Synonyms(table={"": ("a",)})


def test_learning_actively_without_a_head(examples):
    for fit in (lambda rows: None, lambda rows, round_: None):
        with pytest.raises(TypeError, match="fit: got .*; wants "):
            learn_actively(fit, examples.encoded, [0], batch=1, rounds=1)


def test_a_case_whose_functions_take_other_arguments():
    for name in ("base", "make_head", "prepare"):
        given = {"base": "mini-v2", name: lambda a, b, c: None}
        with pytest.raises(TypeError, match=f"{name}: got a function of .*; wants a function"):
            Case("a", **given)


# Damaged states and records of a training.


def state_of_a_run(folder, change):
    train(tiny(), CAUSAL, steps=2, folder=folder, progress=False, callback=lambda report: True)
    path = folder / "training_state.safetensors"
    tensors, metadata = read_tensors(path)
    metadata["history"] = change(metadata["history"])
    write_tensors(path, tensors, metadata)


@pytest.mark.parametrize(
    "change",
    [
        lambda history: "[]",
        lambda history: history.replace('"step": 0', '"step": 900'),
        lambda history: re.sub('"loss": [0-9.]+', '"loss": "x"', history),
        lambda history: re.sub('"loss": [0-9.]+,', "", history),
    ],
)
def test_a_history_that_no_run_has(tmp_path, change):
    state_of_a_run(tmp_path, change)
    with pytest.raises(ValueError, match="training_state.safetensors: history"):
        train(tiny(), CAUSAL, steps=2, folder=tmp_path, progress=False)


RECORD = {
    "steps": torch.tensor([0, 5]),
    "experts": torch.zeros((2, 2, 10, 2), dtype=torch.uint8),
    "input_ids": IDS,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", torch.tensor([0.0, 5.0])),
        ("steps", torch.tensor([5, 0])),
        ("steps", torch.tensor([-1, 0])),
        ("experts", torch.zeros((5, 2, 10, 2), dtype=torch.uint8)),
        ("experts", torch.zeros((2, 2, 9, 2), dtype=torch.uint8)),
        ("experts", torch.zeros((2, 2, 10, 2))),
        ("input_ids", -IDS),
        ("input_ids", IDS.float()),
    ],
)
def test_a_damaged_routing_record(tmp_path, field, value):
    path = tmp_path / "record.safetensors"
    write_tensors(path, RECORD)
    assert read_routing_record(path).keys() == RECORD.keys()
    write_tensors(path, {**RECORD, field: value})
    with pytest.raises(ValueError, match=f"record.safetensors: {field}"):
        read_routing_record(path)


@pytest.mark.parametrize(("argument", "given"), [("steps", ((), "r")), ("path", ((1,), "."))])
def test_a_record_of_nothing(tmp_path, argument, given):
    steps, name = given
    with pytest.raises(ValueError, match=f"{argument}: got "):
        RoutingRecord(tiny(), IDS, steps, tmp_path / name)

"""Wrong inputs that a tester found who had seen no list: damaged files and odd objects."""

import json

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, load_checkpoint, save_checkpoint, trace_routing
from moe_lib.files import read_tensors, write_tensors
from moe_lib.text import Batches, MaskingIds, load_tokenizer
from moe_lib.tracing import load_trace, save_trace
from moe_lib.tracing.analysis.specialisation import choice_counts
from moe_lib.tuning import SequenceClassifier, finetune, load_head, save_head
from moe_lib.tuning.methods import LoRA
from moe_lib.tuning.robust import augment_texts


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny")).eval()


@pytest.fixture
def trace(model):
    return trace_routing(model, torch.arange(6).view(1, 6))


def test_a_trace_whose_experts_have_no_dimension(trace, tmp_path):
    path = tmp_path / "trace.safetensors"
    save_trace(trace, path)
    tensors, metadata = read_tensors(path)
    tensors["layers.0.experts"] = torch.tensor(1)
    write_tensors(path, tensors, metadata)
    with pytest.raises(ValueError, match="trace.safetensors.*experts"):
        load_trace(path)


@pytest.mark.parametrize("label", [10**12, -9])
def test_labels_of_choices(trace, label):
    with pytest.raises(ValueError, match="labels: got"):
        choice_counts(trace, 0, torch.full((1, 6), label))


@pytest.mark.parametrize("names", [["only"], ["a", "a"], [1, None]])
def test_names_of_labels(model, names, tmp_path):
    head = SequenceClassifier(model, 2)
    with pytest.raises((ValueError, TypeError), match="label_names"):
        save_head(head, tmp_path / "refused", label_names=names)
    save_head(head, tmp_path, label_names=["a", "b"])
    card = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps({**card, "label_names": names}))
    with pytest.raises(ValueError, match="head.json: label_names: got"):
        load_head(tmp_path)


def test_a_folder_in_place_of_the_tokenizer(model, tmp_path):
    save_checkpoint(model, tmp_path, load_tokenizer())
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises((ValueError, OSError), match="tokenizer.json"):
        load_checkpoint(tmp_path)


def test_ids_and_functions(model):
    with pytest.raises(TypeError, match="special_ids"):
        MaskingIds(1, "abc", 64)
    with pytest.raises(ValueError, match="packed_or_input_ids"):
        Batches(torch.full((4, 8), -5), 2)
    with pytest.raises(TypeError, match="change: got 'None for text 0'"):
        augment_texts(["a"], lambda text, draw: None)
    with pytest.raises(TypeError, match="method: got .*LoRA.*; wants a method such as LoRA"):
        finetune(model, Batches(torch.ones(4, 8, dtype=torch.long), 2), steps=1, method=LoRA)

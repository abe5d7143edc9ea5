"""The record of routing over a training: what the model chose at each moment, also across a
break."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, trace_routing, train
from moe_lib.training.routing_record import RoutingRecord, read_routing_record

CONFIG = ModelConfig(
    vocab_size=20,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    n_routed_experts=4,
    intermediate_size=16,
    moe_intermediate_size=8,
    first_k_dense_replace=1,
)
TEXT = torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(7))


class Batches:
    def at(self, step):
        ids = torch.randint(0, 20, (4, 8), generator=torch.Generator().manual_seed(step))
        return {"input_ids": ids, "labels": ids}


def fresh():
    torch.manual_seed(0)
    return LanguageModel(CONFIG)


def test_each_moment_holds_what_the_model_chose_then(tmp_path):
    model, path = fresh(), tmp_path / "record.safetensors"
    untrained = trace_routing(model, TEXT)
    record = RoutingRecord(model, TEXT, (0, 2, 4), path)
    train(model, Batches(), steps=4, learning_rate=0.05, callback=record, progress=False)
    kept = read_routing_record(path)
    assert kept["steps"].tolist() == [0, 2, 4] and torch.equal(kept["input_ids"], TEXT)
    assert kept["experts"].shape == (3, 2, 12, 2)  # moments, MoE layers, tokens, k
    for moment, trace in ((0, untrained), (2, trace_routing(model, TEXT))):
        for layer, traced in enumerate(trace.layers):
            assert torch.equal(kept["experts"][moment, layer].long(), traced.experts.flatten(0, 1))
    assert not torch.equal(kept["experts"][0], kept["experts"][2]), "the training moved the router"


def test_a_broken_run_goes_on_with_its_record(tmp_path):
    whole = RoutingRecord(model := fresh(), TEXT, (0, 1, 3), tmp_path / "whole.safetensors")
    train(model, Batches(), steps=3, callback=whole, progress=False)

    folder, path = tmp_path / "run", tmp_path / "parts.safetensors"
    first = RoutingRecord(model := fresh(), TEXT, (0, 1, 3), path)
    train(
        model,
        Batches(),
        steps=3,
        folder=folder,
        progress=False,
        callback=lambda report: first(report) or report.row["step"] == 1,
    )
    again = RoutingRecord(model := fresh(), TEXT, (0, 1, 3), path)
    train(model, Batches(), steps=3, folder=folder, callback=again, progress=False)
    for name, tensor in read_routing_record(tmp_path / "whole.safetensors").items():
        assert torch.equal(tensor, read_routing_record(path)[name]), name


def test_wrong_models_and_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="model: got .0 routed experts"):
        RoutingRecord(LanguageModel(CONFIG.dense()), TEXT, (0,), tmp_path / "x")
    with pytest.raises(FileNotFoundError, match=r"x\.safetensors: no such file"):
        read_routing_record(tmp_path / "x.safetensors")
    from safetensors.torch import save_file

    save_file({"weights": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r'other\.safetensors: holds \[.weights.\]; wants "steps"'):
        read_routing_record(tmp_path / "other.safetensors")

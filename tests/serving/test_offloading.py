"""Experts left on disk: the same numbers, the promised memory, the hits that were simulated."""

import subprocess
import sys

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, load_checkpoint, save_checkpoint, trace_routing
from moe_lib.files import read_tensors, write_tensors
from moe_lib.model.experts import Experts, run_loop
from moe_lib.serving.offloading import cache_statistics, offload_experts, resident_bytes
from moe_lib.tracing.expert_cache import simulate_expert_cache

IDS = torch.randint(0, 60, (2, 12), generator=torch.Generator().manual_seed(0))


def saved(folder, **changes):
    torch.manual_seed(0)
    sizes = dict(vocab_size=60, causal=True, n_routed_experts=8, num_experts_per_tok=2)
    return save_checkpoint(
        LanguageModel(ModelConfig.preset("tiny", **{**sizes, **changes})), folder
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("num_slots", [2, 5, 8])
@pytest.mark.parametrize("policy", ["lru", "lfu"])
def test_every_number_is_that_of_the_plain_loop(folder, num_slots, policy, monkeypatch):
    whole, part = load_checkpoint(folder)[0], offload_experts(folder, num_slots, policy)[0]
    with torch.no_grad():
        fast, offloaded = whole(IDS).logits, part(IDS).logits
        monkeypatch.setattr(
            Experts, "forward", lambda s, x, r: run_loop(x, r, s.gate_up_proj, s.down_proj)
        )
        assert torch.equal(whole(IDS).logits, offloaded)
        assert torch.equal(whole(IDS[:, :1]).logits, part(IDS[:, :1]).logits)
    torch.testing.assert_close(fast, offloaded, rtol=1e-4, atol=1e-5)


def test_it_generates_and_is_traced_as_the_whole_model(folder):
    whole, part = load_checkpoint(folder)[0], offload_experts(folder, 3)[0]
    ways = [one.generate(IDS[:, :4], max_new_tokens=16) for one in (whole, part)]
    assert torch.equal(*ways)
    traces = [trace_routing(one, ways[0]) for one in (whole, part)]
    for one, other in zip(traces[0].layers, traces[1].layers, strict=True):
        assert torch.equal(one.experts, other.experts)
        torch.testing.assert_close(one.weights, other.weights)


@pytest.mark.parametrize("policy", ["lru", "lfu"])
def test_token_by_token_it_hits_as_often_as_the_simulation_says(folder, policy):
    model = offload_experts(folder, 3, policy)[0]
    ids = model.generate(IDS[:1, :1], max_new_tokens=60)[:, :-1]
    trace = trace_routing(load_checkpoint(folder)[0], ids)
    simulated = simulate_expert_cache(trace, 3, policy)
    counted = cache_statistics(model, reset=True)
    assert [one.hits for one in counted] == [layer.hits for layer in simulated.layers]
    assert [one.requests for one in counted] == [layer.requests for layer in simulated.layers]
    assert any(0 < one.hit_rate < 1 for one in counted)
    sizes = 3 * model.config.hidden_size * model.config.moe_intermediate_size
    assert [one.bytes_read for one in counted] == [one.loads * sizes * 4 for one in counted]
    assert all(one.requests == 0 for one in cache_statistics(model))


def test_no_more_experts_are_in_memory_than_there_are_slots(folder):
    whole, part = load_checkpoint(folder)[0], offload_experts(folder, 3)[0]
    with torch.no_grad():
        part(IDS)
    assert [one.resident for one in cache_statistics(part)] == [3] * len(cache_statistics(part))
    layers = len(cache_statistics(part))
    expert = 3 * whole.config.hidden_size * whole.config.moe_intermediate_size * 4
    assert resident_bytes(whole) - resident_bytes(part) == layers * (8 - 3) * expert


PEAK = """
import sys, torch
torch.set_num_threads(1)
from moe_lib import load_checkpoint
from moe_lib.serving.offloading import offload_experts
folder, slots = sys.argv[1], int(sys.argv[2])
model = offload_experts(folder, slots)[0] if slots else load_checkpoint(folder)[0]
print(model.generate(torch.tensor([[1, 2]]), max_new_tokens=40).tolist())
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_the_peak_memory_of_a_process_falls_by_the_experts_left_on_disk(tmp_path):
    """80 MB of experts; with 2 slots of 32, at least two thirds of them never come to memory."""
    wide = dict(hidden_size=128, moe_intermediate_size=850, n_routed_experts=32)
    folder = saved(tmp_path, num_hidden_layers=3, first_k_dense_replace=1, **wide)
    experts = 2 * 32 * 3 * 128 * 850 * 4  # bytes: 2 layers of 32 experts
    runs = []
    for slots in ("0", "2"):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(folder), slots],
            capture_output=True,
            text=True,
            check=True,
        )
        runs.append(done.stdout.split("\n"))
    assert runs[0][0] == runs[1][0]
    assert (int(runs[0][1]) - int(runs[1][1])) * 1024 > experts * 2 / 3


def test_a_bfloat16_file_gives_what_the_loaded_model_gives(tmp_path):
    torch.manual_seed(0)
    config = ModelConfig.preset("tiny", vocab_size=60, causal=True)
    save_checkpoint(LanguageModel(config), tmp_path, dtype=torch.bfloat16)
    whole = load_checkpoint(tmp_path)[0]
    part = offload_experts(tmp_path, config.num_experts_per_tok)[0]
    with torch.no_grad():
        torch.testing.assert_close(whole(IDS).logits, part(IDS).logits, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused_by_name(folder, tmp_path):
    for arguments, says in [
        ((folder, 1), "num_slots: got 1; wants at least num_experts_per_tok (2)"),
        ((folder, 3, "belady"), "policy"),
        ((tmp_path / "none", 3), "no such checkpoint"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            offload_experts(*arguments)
        assert says in str(caught.value)
    dense = saved(tmp_path / "dense", n_routed_experts=0, n_shared_experts=0)
    with pytest.raises(ValueError, match="a checkpoint with experts"):
        offload_experts(dense, 3)
    with pytest.raises(ValueError, match="opened by offload_experts"):
        cache_statistics(load_checkpoint(folder)[0])


def test_a_damaged_expert_is_named_when_it_is_read_and_training_is_refused(tmp_path):
    folder = saved(tmp_path)
    model = offload_experts(folder, 3)[0]
    with pytest.raises(ValueError, match="cannot be trained"):
        model.embedding.weight.requires_grad_(True)
        model(IDS)
    tensors, _ = read_tensors(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("experts.down_proj"))
    tensors[name][:, 0, 0] = float("nan")
    write_tensors(folder / "model.safetensors", tensors)
    model = offload_experts(folder, 3)[0]
    with torch.no_grad(), pytest.raises(ValueError, match=r"experts.down_proj\[\d\]: got 'a NaN"):
        model(IDS)
    (folder / "model.safetensors").unlink()
    with torch.no_grad(), pytest.raises(FileNotFoundError, match="model.safetensors"):
        model(IDS)

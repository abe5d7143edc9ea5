"""torch.compile around a model, and LanguageModel.compile(): the same loss and gradients."""

import copy

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.model import Routing, run_loop
from moe_lib.model.fast.ways import run_traceable

pytestmark = pytest.mark.usefixtures("one_thread")


def make() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(
        ModelConfig(
            vocab_size=40,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_shared_experts=1,
            moe_intermediate_size=8,
            max_position_embeddings=32,
            initializer_range=0.4,
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", ["around", "inside"])
def test_a_compiled_model_gives_the_losses_and_gradients_of_the_model(way):
    model = make()
    other = copy.deepcopy(model)
    if way == "around":
        compiled = torch.compile(other, backend="aot_eager")
    else:
        compiled = other
        other.compile(backend="aot_eager")
    for shape in ((2, 8), (3, 5)):
        ids = torch.randint(40, shape, generator=torch.Generator().manual_seed(1))
        outputs = model(ids, labels=ids), compiled(ids, labels=ids)
        for output in outputs:
            (output.loss + output.balance_loss).backward()
        torch.testing.assert_close(outputs[1].logits, outputs[0].logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(outputs[1].loss, outputs[0].loss, rtol=1e-6, atol=0)
        assert torch.equal(outputs[1].routing[0].experts, outputs[0].routing[0].experts)
        for mine, wanted in zip(other.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, wanted.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_traceable_way_and_its_opaque_products_give_what_the_loop_gives(dtype, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # the closed operators
    results = []
    for way in (run_loop, run_traceable):
        torch.manual_seed(0)
        x, weights = torch.randn(9, 16, dtype=dtype), torch.rand(9, 2, dtype=dtype)
        matrices = torch.randn(5, 16, 16, dtype=dtype), torch.randn(5, 16, 8, dtype=dtype)
        inputs = [t.requires_grad_() for t in (x, weights, *matrices)]
        logits = torch.randn(9, 5)
        kept = torch.rand(9, 2) > 0.3
        routing = Routing(logits.topk(2).indices, weights, logits.softmax(-1), logits, kept)
        output = way(x, routing, *matrices)
        output.square().sum().backward()
        results.append([output, *(tensor.grad for tensor in inputs)])
    for mine, wanted in zip(*results, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-3)

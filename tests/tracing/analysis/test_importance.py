"""Losses per text against the model's own loss, and the price of an expert against a model that
never had it."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.tracing import experts_off
from moe_lib.tracing.analysis.importance import rises_without, text_losses

MASK = torch.tensor([[1] * 9, [1] * 6 + [0] * 3, [0] * 4 + [1] * 5])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LanguageModel(
        ModelConfig(
            vocab_size=30,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            n_routed_experts=5,
            num_experts_per_tok=2,
            moe_intermediate_size=8,
            first_k_dense_replace=1,
            max_position_embeddings=16,
            initializer_range=0.3,
        )
    )


@pytest.fixture(scope="module")
def ids():
    return torch.randint(0, 30, (3, 9), generator=torch.Generator().manual_seed(0))


def test_losses_are_the_models_own_text_by_text(model, ids):
    sums, predicted = text_losses(model, ids, MASK)
    assert predicted.tolist() == [8, 5, 4]
    for row, (start, end) in enumerate(((0, 9), (0, 6), (4, 9))):
        alone = ids[row : row + 1, start:end]
        with torch.no_grad():
            loss = model.eval()(alone, labels=alone).loss
        assert float(sums[row] / predicted[row]) == pytest.approx(float(loss), rel=1e-5)


def test_rise_is_the_difference_with_the_experts_off(model, ids):
    sets = [{1: [0]}, {1: [1, 3]}, {}]
    rises = rises_without(model, sets, ids, MASK)
    assert rises.shape == (3, 3) and rises[2].abs().max() < 1e-6
    before = text_losses(model, ids, MASK)[0]
    with experts_off(model, {1: [1, 3]}):
        after = text_losses(model, ids, MASK)[0]
    assert torch.allclose(rises[1], after - before) and rises[1].abs().max() > 1e-4


def test_mode_is_restored_and_bad_input_is_named(model, ids):
    model.train()
    assert rises_without(model, [], ids).shape == (0, 3)
    assert model.training
    with pytest.raises(TypeError, match="model"):
        text_losses(torch.nn.Linear(2, 2), ids)
    masked = LanguageModel(model.config.replace(causal=False))
    with pytest.raises(ValueError, match="model"):
        text_losses(masked, ids)

"""When speculation pays: sums by simulation, and DeepSeek-V3's own figures."""

import pytest
import torch

from moe_lib.compression import deepseek_v3_module, expected_tokens, speed_up, window_bytes
from moe_lib.counting import parameters_read
from moe_lib.published import published
from tests.training.small import make_model


@pytest.mark.parametrize(("acceptance", "window"), [(0.3, 1), (0.8, 4), (1.0, 5), (0.0, 3)])
def test_expected_tokens_by_drawing(acceptance, window):
    kept = torch.rand(20000, window, generator=torch.Generator().manual_seed(0)) < acceptance
    drawn = float(kept.long().cumprod(1).sum(1).double().mean()) + 1
    assert expected_tokens(acceptance, window) == pytest.approx(drawn, rel=0.02)


def test_a_free_draft_pays_and_one_that_never_hits_costs():
    assert speed_up(0.8, 4, 0.0) == pytest.approx(expected_tokens(0.8, 4))
    assert speed_up(0.0, 4, 0.1) == pytest.approx(1 / 1.4)
    # Leviathan et al.: for α > c there is a window that pays, (1 + α) / (1 + c) at the least
    assert speed_up(0.5, 1, 0.4) == pytest.approx(1.5 / 1.4) and speed_up(0.4, 1, 0.5) < 1


def test_a_window_reads_more_experts_and_a_dense_model_reads_all_anyway():
    sizes = published("DeepSeek-V2-Lite").sizes
    reads = parameters_read(sizes, 5) / parameters_read(sizes, 1)
    assert window_bytes(sizes, 5) == pytest.approx(reads)
    assert window_bytes(sizes, 1) == pytest.approx(1) == window_bytes(sizes, 9, distinct=6)
    dense = make_model(n_routed_experts=0, n_shared_experts=0).config
    assert window_bytes(dense, 9) == 1


def test_the_module_of_deepseek_v3_has_the_published_sizes():
    module = deepseek_v3_module()
    assert round(module.block / 1e9, 1) == 11.5 and round(module.active / 1e9, 1) == 2.4
    assert round(module.model / 1e9) == 671 and module.projection == 2 * 7168**2 + 3 * 7168
    # 85 to 90 % of second tokens are kept: 1.85 to 1.9 tokens per pass; 1.8 times the tokens/s
    assert expected_tokens(0.85, 1) == pytest.approx(1.85) and expected_tokens(0.9, 1) == 1.9
    low, high = (speed_up(acceptance, 1, module.cost) for acceptance in (0.85, 0.9))
    assert low < 1.8 and high == pytest.approx(1.8, abs=0.03) and 0.06 < module.cost < 0.07

"""Bytes read per decoded token: a model counted by hand, real tensors, and experts touched."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, RoutingTrace
from moe_lib.counting import expected_distinct_experts
from moe_lib.decoding_bytes import decoding_bytes, decoding_table
from moe_lib.model.cache import KVCache
from moe_lib.published import published
from moe_lib.tracing.cache_controls import distinct_experts

LITE = published("DeepSeek-V2-Lite").sizes


def test_v2_lite_worked_by_hand():
    """Attention 27 · 13,762,560 (query 6,291,456, down 1,179,648, up 2,097,152, output 4,194,304);
    norms 27 · (512 + 4,096) + 2,048; dense layer 67,239,936; shared experts 26 · 2 · 8,650,752;
    routers 26 · 131,072; output matrix 209,715,200. Two bytes each."""
    found = decoding_bytes(LITE, 1, 4096)
    assert found.shared == 2 * 1_101_917_696
    assert found.experts == pytest.approx(2 * 26 * 6 * 8_650_752)
    assert found.cache == 4096 * 27 * 576 * 2 == 127_401_984
    assert found.per_token == found.step == pytest.approx(5_030_272_000)
    expanded = decoding_bytes(LITE, 1, 4096, cache="expanded").cache
    assert expanded / found.cache == 16 * (128 + 64 + 128) / 576


@pytest.mark.parametrize("attention", ["mha", "mla"])
def test_the_tensors_of_a_real_model_add_up(attention):
    latent = dict(kv_lora_rank=12, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8)
    more = latent if attention == "mla" else {}
    config = ModelConfig.preset("tiny", vocab_size=60, causal=True, attention=attention, **more)
    model = LanguageModel(config).eval()
    k, fixed, experts = config.num_experts_per_tok, 0, 0
    for name, weight in model.named_parameters():
        if ".experts." in name:
            experts += weight[:k].numel()
        elif name != "embedding.weight" or config.tie_word_embeddings:
            fixed += weight.numel()
    found = decoding_bytes(config, 1, 10, weights="fp32", cached="fp32")
    assert (found.shared, found.experts) == (4 * fixed, pytest.approx(4 * experts))
    cache = KVCache()
    with torch.no_grad():
        model(torch.zeros(1, 10, dtype=torch.int64), cache=cache)
    assert found.cache == 4 * cache.number_of_elements()


def test_a_large_batch_reads_all_experts_and_a_dense_twin_never_reads_more():
    table = decoding_table(LITE, (1, 16, 256), 1024)
    assert [round(row.distinct, 1) for row in table] == [6.0, 50.8, 64.0]
    dense = decoding_table(LITE, (1, 16, 256), 1024, as_dense=True)
    assert dense[0].step == pytest.approx(table[0].step)
    assert table[1].step > 3 * dense[1].step
    assert table[0].per_token > table[1].per_token > table[2].per_token
    assert all(row.distinct == row.experts == 0 for row in dense)


def test_experts_touched_by_tokens_of_a_trace():
    runs = torch.tensor([[0, 1]] * 40 + [[2, 3]] * 40)[:, None]
    trace = RoutingTrace.from_arrays(runs, n_experts=8)
    assert distinct_experts(trace, 1) == {0: 2.0}
    assert distinct_experts(trace, 80) == {0: 4.0}
    drawn, beside = distinct_experts(trace, 6), distinct_experts(trace, 6, neighbours=True)
    assert beside[0] < 3 < drawn[0] <= 4
    noise = torch.rand(4000, 1, 8, generator=torch.Generator().manual_seed(0)).topk(2).indices
    chance = distinct_experts(RoutingTrace.from_arrays(noise, n_experts=8), 5, draws=800)
    assert chance[0] == pytest.approx(expected_distinct_experts(8, 2, 5), abs=0.1)
    measured = decoding_bytes(LITE.replace(n_routed_experts=8, num_experts_per_tok=2), 6, 0)
    fewer = decoding_bytes(
        LITE.replace(n_routed_experts=8, num_experts_per_tok=2), 6, 0, distinct=drawn[0]
    )
    assert fewer.experts < measured.experts


@pytest.mark.parametrize(
    "arguments",
    [
        dict(batch=0),
        dict(distinct=65, batch=256),
        dict(distinct=13, batch=2),
        dict(distinct=5, batch=2),
        dict(distinct=6, as_dense=True),
        dict(cache="none"),
        dict(weights="bf17"),
        dict(cached=2),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments):
    with pytest.raises((ValueError, TypeError)) as caught:
        decoding_bytes(LITE, **{"batch": 4, **arguments})
    assert any(name in str(caught.value) for name in arguments)

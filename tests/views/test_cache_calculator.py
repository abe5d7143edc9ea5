"""The cache calculator in code: bytes by hand and against real caches, settings, messages, errors,
picture, words."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.counting import BYTES_PER_NUMBER, kv_cache_elements_per_token
from moe_lib.model import KVCache
from moe_lib.published import ModelSizes, published, published_names
from moe_lib.views.cache_calculator.account import (
    KINDS,
    PRECISIONS,
    CacheSizes,
    cache_account,
    cache_sizes_of,
    kind_of,
)
from moe_lib.views.cache_calculator.widget import SETTINGS, SIZES, CacheCalculator


@pytest.fixture
def calculator():
    return CacheCalculator("DeepSeek-V2")


def test_deepseek_v2_by_hand():
    """DeepSeek-V2, table 1, with 128 heads of 128 numbers in 60 layers."""
    account = cache_account(cache_sizes_of(published("DeepSeek-V2").sizes), 1000, 4, "bf16", 80)
    assert account.token_bytes == {
        "MHA": 2 * 1_966_080,
        "GQA": 2 * 122_880,
        "MQA": 2 * 15_360,
        "MLA": 2 * 34_560,
    }
    assert account.total_bytes["MLA"] == 4000 * 69_120
    assert account.fitting == {"MHA": 20, "GQA": 325, "MQA": 2604, "MLA": 1157}


@pytest.mark.parametrize("name", published_names(dense=True))
def test_own_kind_is_what_the_library_counts(name):
    sizes = published(name).sizes
    assert cache_sizes_of(sizes).per_token(kind_of(sizes)) == kv_cache_elements_per_token(sizes)


def test_kinds_of_published_models():
    kinds = {name: kind_of(published(name).sizes) for name in published_names(dense=True)}
    assert [name for name, kind in kinds.items() if kind == "GQA"] == [
        "Mixtral 8x7B",
        "DeepSeek 67B",
    ]
    assert [name for name, kind in kinds.items() if kind == "MHA"] == [
        "DeepSeekMoE 16B",
        "OLMoE-1B-7B",
    ]
    few = ModelSizes(10, 12, 1, num_attention_heads=6, num_key_value_heads=1, intermediate_size=8)
    assert kind_of(few) == "MQA" and cache_sizes_of(few).num_key_value_heads == 3
    one = ModelSizes(10, 12, 1, num_attention_heads=1, num_key_value_heads=1, intermediate_size=8)
    assert kind_of(one) == "MHA" and cache_sizes_of(one).num_key_value_heads == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_formula_against_the_cache_of_a_model(kind):
    sizes = CacheSizes(3, 4, 8, 2, kv_lora_rank=20, qk_rope_head_dim=6)
    attention = {
        "MHA": {},
        "GQA": dict(num_key_value_heads=2),
        "MQA": dict(num_key_value_heads=1),
        "MLA": dict(
            attention="mla", kv_lora_rank=20, qk_nope_head_dim=8, qk_rope_head_dim=6, v_head_dim=8
        ),
    }[kind]
    model = LanguageModel(
        ModelConfig(
            vocab_size=9,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=8,
            **attention,
        )
    )
    cache = KVCache()
    with torch.no_grad():
        model(torch.zeros(2, 5, dtype=torch.int64), cache=cache)
    assert cache.number_of_elements() == 2 * 5 * sizes.per_token(kind)


def test_settings_move_the_numbers(calculator):
    before = calculator.account
    calculator.set(batch_size=3, precision="fp8")
    for kind in KINDS:
        assert calculator.account.token_bytes[kind] == before.token_bytes[kind] / 2
        assert calculator.account.total_bytes[kind] == before.total_bytes[kind] * 1.5
    calculator.set(kind="GQA", num_key_value_heads=2, memory=24)
    assert (
        calculator.changed == {"num_key_value_heads": 2} and "GQA (2 groups)" in calculator.summary
    )
    assert calculator.account.token_bytes["GQA"] == 60 * 4 * 128
    calculator.reset()
    assert (
        calculator.changed == {}
        and calculator.kind == calculator.own_kind == "MLA"
        and calculator.memory == 24
    )
    calculator.set(model="Mixtral 8x7B", head_dim=64)
    assert (calculator.kind, calculator.changed) == ("GQA", {"head_dim": 64})


def test_words_say_whether_it_fits(calculator):
    assert "it fits into 80 GB" in calculator.summary
    calculator.set(kind="MHA", context=131_072)
    assert (
        "it does not fit into 80 GB" in calculator.summary
        and "no sequence fits" in calculator.summary
    )
    calculator.set(context=20_000)
    assert "it fits into 80 GB. 1 sequence fits at once" in calculator.summary


def test_view_holds_every_setting_among_its_values(calculator):
    for name in published_names(dense=True):
        calculator.set(model=name, batch_size=3, context=5000)
        view = calculator.view
        controls = {control["name"]: control for control in view["controls"]}
        assert set(controls) == {*SIZES, *SETTINGS} and name in view["models"]
        for control in controls.values():
            assert control["value"] in control["values"] == sorted(set(control["values"]))
        heads = calculator.sizes.num_attention_heads
        assert all(heads % groups == 0 for groups in controls["num_key_value_heads"]["values"])
        assert [row["kind"] for row in view["rows"]] == list(KINDS) and view[
            "summary"
        ] == calculator.summary
        assert [row["kind"] for row in view["rows"] if row["own"]] == [calculator.own_kind]


def test_messages_of_the_page(calculator):
    calculator.receive({"set": {"batch_size": 64, "kind": "MHA"}})
    assert (calculator.batch_size, calculator.kind) == (64, "MHA") and calculator.view["changed"]
    calculator.receive({"set": {"num_attention_heads": 4}})
    assert calculator.sizes.num_key_value_heads == 4, "8 groups of 4 heads cannot be"
    calculator.receive({"set": {"head_dim": 0}})
    assert "head_dim" in calculator.view["problem"] and calculator.sizes.head_dim == 128
    calculator.receive({"reset": True})
    assert (
        calculator.changed == {}
        and calculator.view["problem"] == ""
        and not calculator.view["changed"]
    )


@pytest.mark.parametrize(
    ("settings", "error", "name"),
    [
        (dict(model="GPT-3"), ValueError, "GPT-3"),
        (dict(kind="MHLA"), ValueError, "^kind"),
        (dict(context=0), ValueError, "^context"),
        (dict(batch_size=1.5), TypeError, "^batch_size"),
        (dict(memory=0), ValueError, "^memory"),
        (dict(precision="int8"), ValueError, "^precision"),
        (dict(hidden_size=8), TypeError, "hidden_size"),
        (dict(num_key_value_heads=3), ValueError, "^num_key_value_heads"),
        (dict(kv_lora_rank=0), ValueError, "^kv_lora_rank"),
        (dict(model="OLMoE-1B-7B", head_dim="x"), TypeError, "head_dim"),
    ],
)
def test_wrong_settings_are_named_and_change_nothing(calculator, settings, error, name):
    view, sizes = calculator.view, calculator.sizes
    with pytest.raises(error, match=name):
        calculator.set(**settings)
    assert (
        calculator.view == view and calculator.sizes == sizes and calculator.model == "DeepSeek-V2"
    )


def test_bytes_of_each_format():
    assert {name: BYTES_PER_NUMBER[name] for name in PRECISIONS} == {
        "fp32": 4,
        "bf16": 2,
        "fp8": 1,
        "6 bits": 6 / 8,
        "4 bits": 4 / 8,
    }
    with pytest.raises(ValueError, match="^kind"):
        CacheSizes(1, 4, 8, 2, 8, 4).per_layer("mla")


@pytest.mark.filterwarnings("error")
def test_picture_and_words_stand_beside_the_live_view(calculator):
    data, metadata = calculator._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(data)
    assert (
        metadata["image/png"]["alt"] == calculator.summary
        and "69.1 kB per token" in calculator.summary
    )
    assert calculator.png() == calculator.png() and calculator.png().startswith(b"\x89PNG")
    calculator.set(context=2**20, batch_size=1024, memory=8)  # beyond the memory; nothing fits
    assert calculator.png().startswith(b"\x89PNG")


def test_bars_show_orders_of_magnitude_and_the_memory_stands_among_them():
    for batch_size, memory in ((1, 80), (1024, 80), (1, 640)):
        calculator = CacheCalculator("DeepSeek-V2", 131_072, batch_size, memory=memory)
        view = calculator.view
        for field in ("token", "total", "fitting"):
            places = dict(zip(KINDS, view["scales"][field]["places"], strict=True))
            numbers = {row["kind"]: row[field] for row in view["rows"]}
            seen = [kind for kind in KINDS if numbers[kind]]
            assert all(0.05 < places[kind] <= 1 for kind in seen), (field, places)
            assert all(places[kind] == 0 for kind in KINDS if kind not in seen)
            assert sorted(seen, key=numbers.get) == sorted(seen, key=places.get)
        assert 0.05 < view["scales"]["total"]["limit"] <= 1
        assert all(0 < tick < 1 for tick in view["scales"]["total"]["ticks"])
    # equal ratios, equal distances: MHA keeps 16 times as much as 8 groups, 8 groups 8 times MQA
    places = dict(zip(KINDS, view["scales"]["token"]["places"], strict=True))
    steps = places["MHA"] - places["GQA"], places["GQA"] - places["MQA"]
    assert steps[0] / steps[1] == pytest.approx(4 / 3)

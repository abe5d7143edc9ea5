"""The parameter explorer in code: numbers against hand-made sums, settings, messages, errors,
picture, words."""

import pytest

from moe_lib.counting import count_parameters
from moe_lib.published import published, published_names
from moe_lib.views.parameter_explorer.account import account_of, amount, operations, size_words
from moe_lib.views.parameter_explorer.widget import SIZES, ParameterExplorer


@pytest.fixture
def explorer():
    return ParameterExplorer("Mixtral 8x7B")


@pytest.mark.parametrize("name", published_names())
def test_parts_add_up_to_total_and_active(name):
    sizes = published(name).sizes
    account, count = account_of(sizes, 1, "bf16"), count_parameters(sizes)
    assert (
        sum(account.stored.values()) == count.total and sum(account.used.values()) == count.active
    )
    assert account.bytes_stored == 2 * count.total
    assert account.bytes_read == pytest.approx(2 * count.active), "one token reads what is active"
    assert account.dense_flops < account.flops < account.all_flops
    assert account.distinct == pytest.approx(sizes.num_experts_per_tok)


def test_mixtral_by_hand():
    account = account_of(published("Mixtral 8x7B").sizes, 4, "fp8")
    expert = 32 * 3 * 4096 * 14_336
    attention = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024)
    active = 32_000 * 4096 + attention + 2 * expert + 32 * 8 * 4096 + 65 * 4096
    assert account.count.active == active
    assert account.flops == 2 * (active - 65 * 4096) + 2 * 32 * 2 * 4096 * 4096
    assert account.all_flops - account.flops == 2 * 6 * expert
    assert account.bytes_read == pytest.approx(active + expert * (8 * (1 - 0.75**4) - 2))


def test_settings_move_the_numbers(explorer):
    before = explorer.account
    explorer.set(num_experts_per_tok=4, batch_size=16, precision="int4")
    assert (
        explorer.changed == {"num_experts_per_tok": 4} and explorer.sizes.num_experts_per_tok == 4
    )
    assert (
        explorer.account.count.total
        == before.count.total
        > explorer.account.count.active
        > before.count.active
    )
    assert (
        explorer.account.bytes_stored == before.bytes_stored / 4
        and "changed sizes" in explorer.summary
    )
    explorer.reset()
    assert explorer.changed == {} and (explorer.batch_size, explorer.precision) == (16, "int4")
    explorer.set(model="OLMoE-1B-7B", n_shared_experts=1)
    assert explorer.model == "OLMoE-1B-7B" and explorer.changed == {"n_shared_experts": 1}


def test_view_holds_every_setting_among_its_values(explorer):
    for name in published_names():
        explorer.set(model=name, batch_size=3)
        controls = {control["name"]: control for control in explorer.view["controls"]}
        assert set(controls) == set(SIZES)
        for control in controls.values():
            assert control["value"] in control["values"] == sorted(set(control["values"]))
        assert max(controls["num_experts_per_tok"]["values"]) <= explorer.sizes.n_routed_experts
        assert (
            explorer.view["batch"] in explorer.view["batches"]
            and explorer.view["summary"] == explorer.summary
        )


def test_messages_of_the_page(explorer):
    explorer.receive({"set": {"batch_size": 64, "precision": "fp8"}})
    assert (explorer.batch_size, explorer.precision) == (64, "fp8")
    explorer.receive({"set": {"n_routed_experts": 1}})
    assert explorer.sizes.num_experts_per_tok == 1, "k follows E down"
    explorer.receive({"set": {"num_experts_per_tok": 2}})
    assert (
        "num_experts_per_tok" in explorer.view["problem"]
        and explorer.sizes.num_experts_per_tok == 1
    )
    explorer.receive({"reset": True})
    assert explorer.changed == {} and explorer.view["problem"] == ""


@pytest.mark.parametrize(
    ("settings", "error", "name"),
    [
        (dict(model="GPT-3"), ValueError, "GPT-3"),
        (dict(num_experts_per_tok=9), ValueError, "num_experts_per_tok"),
        (dict(batch_size=0), ValueError, "batch_size"),
        (dict(batch_size=1.5), TypeError, "batch_size"),
        (dict(precision="fp32"), ValueError, "precision"),
        (dict(hidden_size=8), TypeError, "hidden_size"),
        (dict(n_routed_experts=0), ValueError, "n_routed_experts"),
    ],
)
def test_wrong_settings_are_named_and_change_nothing(explorer, settings, error, name):
    view = explorer.view
    with pytest.raises(error, match=name):
        explorer.set(**settings)
    assert explorer.view == view and explorer.sizes == published("Mixtral 8x7B").sizes


def test_amounts_in_words():
    assert [amount(n) for n in (0, 950, 1_500, 20_852_000_000, 235_741_434_880)] == [
        "0",
        "950",
        "1.5K",
        "20.9B",
        "235.7B",
    ]
    assert size_words(471_482_869_760) == "471 GB" and size_words(1.343e12) == "1.34 TB"
    assert operations(61_800_000_000) == "61.8 GFLOPs" and size_words(999_999_999) == "1 GB"


@pytest.mark.filterwarnings("error")
def test_picture_and_words_stand_beside_the_live_view(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(data)
    assert metadata["image/png"]["alt"] == explorer.summary and "46.7B" in explorer.summary
    assert explorer.png() == explorer.png() and explorer.png().startswith(b"\x89PNG")
    explorer.set(n_routed_experts=1, num_experts_per_tok=1, batch_size=8192)
    assert explorer.png().startswith(b"\x89PNG")

"""Few bits: packing against Python's integers, rounding against all numbers, files, refusals."""

import json

import pytest
import torch
from safetensors import safe_open

from moe_lib import load_checkpoint, save_checkpoint
from moe_lib.compression import load_quantised, quantise, quantise_weight, save_quantised
from moe_lib.compression.bit_packing import WIDTHS, pack_bits, unpack_bits
from moe_lib.compression.rounding import NORM, QuantisedWeight
from moe_lib.files import read_tensors, write_tensors
from moe_lib.opening import open_model
from tests.training.small import make_model

IDS = torch.randint(0, 20, (3, 9), generator=torch.Generator().manual_seed(1))
BITS = {"experts": 3, "router": 8, "rest": 4}


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("n", [0, 1, 7, 8, 29])
def test_packed_numbers_are_one_long_number_in_base_two_to_the_bits(bits, n):
    numbers = torch.randint(0, 2**bits, (n,), generator=torch.Generator().manual_seed(n)).byte()
    packed = pack_bits(numbers, bits)
    long = sum(int(number) << (bits * place) for place, number in enumerate(numbers))
    assert bytes(packed.tolist()) == long.to_bytes(-(-n * bits // 8), "little")
    assert torch.equal(unpack_bits(packed, bits, n), numbers)


@pytest.mark.parametrize("bits", WIDTHS)
def test_every_weight_goes_to_the_nearest_number_that_its_group_has(bits):
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    found = quantise_weight(weight, bits, 32)
    groups, result = weight.view(-1, 32), found.dequantised().view(-1, 32)
    for row, got, scale, zero in zip(groups, result, found.scale, found.zero, strict=True):
        possible = (torch.arange(2**bits) - zero.float()) * scale.float()
        nearest = (row[:, None] - possible).abs().min(1).values
        assert torch.allclose((row - got).abs(), nearest, atol=1e-6)
        assert float((row - got).abs().max()) <= 0.51 * float(scale) + 1e-3
    assert found.n_bytes == 6 * 64 * bits // 8 + 12 * 4


def test_groups_of_zeros_constants_and_one_sign_come_out_as_they_are():
    rows = [[0.0] * 8, [0.5] * 8, [-0.25] * 8, [0.0, 0.0, 0.0, 3.0, 0, 0, 0, 3]]
    weight = torch.tensor(rows)
    for method in ("nearest", "hqq"):
        assert torch.allclose(
            quantise_weight(weight, 2, 8, method).dequantised(), weight, atol=1e-3
        )


def test_a_half_quadratic_zero_leaves_less_error_and_recovers_from_an_outlier():
    weight = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    weight[:, 0] = 6.0
    for bits in (2, 3):
        nearest, better = (
            (weight - quantise_weight(weight, bits, 32, m).dequantised()).abs().pow(NORM).sum(1)
            for m in ("nearest", "hqq")
        )
        assert bool((better <= nearest + 1e-4).all()) and float(better.sum()) < float(nearest.sum())


def test_a_width_that_the_group_does_not_divide_takes_its_largest_divisor():
    assert quantise_weight(torch.randn(2, 48), 4, 32).group_size == 24
    assert quantise_weight(torch.randn(2, 7), 4, 32).group_size == 7


@pytest.mark.parametrize("tied", [True, False])
def test_a_quantised_model_is_saved_in_its_bits_and_opened_the_same(tmp_path, tied):
    model = make_model(tie_word_embeddings=tied, router="biased_topk").eval()
    quantised = quantise(model, BITS)
    save_quantised(quantised, tmp_path / "few")
    again, tokenizer = load_quantised(tmp_path / "few")
    assert tokenizer is None
    assert torch.equal(again.model(IDS).logits, quantised.model(IDS).logits)
    assert not torch.equal(again.model(IDS).logits, model(IDS).logits)
    with safe_open(tmp_path / "few" / "model.safetensors", "pt") as file:
        sizes = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    total = sum(tensor.numel() * tensor.element_size() for tensor in sizes.values())
    assert total == sum(quantised.n_bytes().values()) == sum(again.n_bytes().values())
    experts = model.layers[0].feed_forward.experts.gate_up_proj.numel()
    assert sizes["layers.0.feed_forward.experts.gate_up_proj.packed"].numel() == experts * 3 // 8
    assert sizes["layers.0.feed_forward.router.selection_bias"].dtype == torch.float32


def test_parts_are_quantised_apart(tmp_path):
    model = make_model().eval()
    before = model.state_dict()
    for part, inside in (("experts", ".experts."), ("router", ".router."), ("rest", "")):
        after = quantise(model, {part: 2}).model.state_dict()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed and all(inside in name for name in changed)
        if part == "rest":
            assert not any(".experts." in name or ".router." in name for name in changed)
            assert {"embedding.weight", "layers.0.feed_forward.shared.up_proj.weight"} <= changed
    nothing = quantise(model, {"experts": None})
    assert not nothing.weights and torch.equal(nothing.model(IDS).logits, model(IDS).logits)


def test_eight_bits_change_next_to_nothing():
    model = make_model().eval()
    found = quantise(model, dict.fromkeys(("experts", "router", "rest"), 8)).model
    assert torch.allclose(found(IDS).logits, model(IDS).logits, atol=0.01)


def test_the_plain_loader_names_the_right_one_and_the_other_way_round(tmp_path):
    model = make_model().eval()
    save_quantised(quantise(model, BITS), tmp_path / "few")
    save_checkpoint(model, tmp_path / "plain")
    for opens in (load_checkpoint, open_model):
        with pytest.raises(
            ValueError, match="config.json: a quantised checkpoint; .*load_quantised"
        ) as caught:
            opens(tmp_path / "few")
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="config.json: a plain checkpoint; .*load_checkpoint"):
        load_quantised(tmp_path / "plain")


def damaged(folder, change):
    file = folder / "model.safetensors"
    tensors, _ = read_tensors(file)
    change(tensors)
    write_tensors(file, tensors)


NAME = "layers.1.feed_forward.experts.down_proj"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop(f"{NAME}.scale"), "missing"),
        (lambda t: t.update({f"{NAME}.packed": t[f"{NAME}.packed"][:-1]}), "packed"),
        (lambda t: t.update({f"{NAME}.zero": t[f"{NAME}.zero"].float()}), "zero"),
        (lambda t: t.update({f"{NAME}.scale": t[f"{NAME}.scale"] * float("nan")}), "scale"),
        (lambda t: t.pop("norm.weight"), "missing"),
        (lambda t: t.update(more=torch.zeros(1)), "unexpected"),
        (lambda t: t.update({"norm.weight": torch.zeros(3)}), "norm.weight"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, says):
    save_quantised(quantise(make_model(), BITS), tmp_path / "few")
    damaged(tmp_path / "few", change)
    with pytest.raises(ValueError, match="model.safetensors") as caught:
        load_quantised(tmp_path / "few")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 5},
        {"bits": "3"},
        {"bits": None},
        {"group_size": 3},
        {"group_size": 0},
        {"shape": [1]},
    ],
)
def test_a_wrong_config_is_named(tmp_path, change):
    save_quantised(quantise(make_model(), BITS), tmp_path / "few")
    path = tmp_path / "few" / "config.json"
    fields = json.loads(path.read_text())
    fields["quantised"][NAME] |= change
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"config\.json|model\.safetensors") as caught:
        load_quantised(tmp_path / "few")
    assert NAME in str(caught.value)


def test_records_made_by_hand_are_checked():
    one = torch.ones(4).half()
    with pytest.raises(ValueError, match="bits"):
        QuantisedWeight(torch.zeros(8, dtype=torch.uint8), one, one, (4, 8), 5, 8)
    with pytest.raises(ValueError, match="group_size"):
        QuantisedWeight(torch.zeros(8, dtype=torch.uint8), one, one, (4, 8), 2, 3)

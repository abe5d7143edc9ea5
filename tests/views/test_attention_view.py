"""The attention viewer: its maps against torch's fused attention, its widget driven in code."""

import pytest
import torch
import torch.nn.functional as F

from moe_lib import LanguageModel, ModelConfig
from moe_lib.model import rotary_angles, rotate
from moe_lib.text import load_tokenizer
from moe_lib.tracing.attention_maps import attention_maps, attention_weights
from moe_lib.views.attention_view.widget import AttentionViewer, view_attention


def small_model(causal: bool, **changes) -> LanguageModel:
    torch.manual_seed(1)
    sizes = dict(
        vocab_size=4096,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=20,
        initializer_range=0.5,
        max_position_embeddings=64,
    )
    return LanguageModel(ModelConfig(**{**sizes, **changes}, causal=causal)).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture
def viewer(tokenizer) -> AttentionViewer:
    return view_attention({"causal": small_model(True), "masked": small_model(False)}, tokenizer)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_weights_times_values_are_what_the_layer_gives(causal, kv_heads):
    model = small_model(causal, num_key_value_heads=kv_heads)
    ids = torch.randint(16, 4096, (2, 7))
    weights = attention_weights(model, ids)
    assert weights.shape == (2, 2, 4, 7, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 4, 7))
    block = model.layers[0]
    x = block.attention_norm(model.embedding(ids))
    value = (
        block.attention.v_proj(x)
        .unflatten(-1, (kv_heads, 6))
        .transpose(1, 2)
        .repeat_interleave(4 // kv_heads, 1)
    )
    mixed = block.attention.o_proj((weights[0] @ value).transpose(1, 2).flatten(-2))
    expected = block.attention(x, rotary_angles(torch.arange(7)[None], 6))
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-4)


def test_latent_attention_has_maps_too():
    model = small_model(
        True, attention="mla", kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=6
    )
    ids, block = torch.randint(16, 4096, (2, 7)), model.layers[0]
    x, angles = block.attention_norm(model.embedding(ids)), rotary_angles(torch.arange(7)[None], 4)
    _, value = block.attention.keys_and_values(block.attention.memory(x, angles))
    mixed = block.attention.o_proj(
        (attention_weights(model, ids)[0] @ value).transpose(1, 2).flatten(-2)
    )
    torch.testing.assert_close(mixed, block.attention(x, angles), atol=1e-5, rtol=1e-4)


def test_weights_are_those_of_torchs_fused_attention():
    """With the identity as values, fused attention gives its weights away."""
    model, ids = small_model(True), torch.randint(16, 4096, (1, 6))
    attention = model.layers[0].attention
    x, angles = (
        model.layers[0].attention_norm(model.embedding(ids)),
        rotary_angles(torch.arange(6)[None], 6),
    )
    query, key = (
        rotate(layer(x).unflatten(-1, (4, 6)).transpose(1, 2), angles)
        for layer in (attention.q_proj, attention.k_proj)
    )
    identity = torch.eye(6).expand(1, 4, 6, 6)
    expected = F.scaled_dot_product_attention(query, key, identity, is_causal=True)
    torch.testing.assert_close(attention_weights(model, ids)[0], expected, atol=1e-6, rtol=1e-4)


def test_a_causal_model_never_looks_ahead_and_a_masked_one_does(tokenizer):
    causal = attention_maps(small_model(True), tokenizer, "one two three four")
    masked = attention_maps(small_model(False), tokenizer, "one two three four")
    assert causal.labels == masked.labels and len(causal.labels) >= 4
    assert all(causal.future_share(layer, head) == 0 for layer in range(2) for head in range(4))
    assert all(masked.future_share(layer, head) > 0.05 for layer in range(2) for head in range(4))


def test_reading_leaves_the_model_as_it_was(tokenizer):
    model = small_model(True).train()
    attention_maps(model, tokenizer, "one two")
    assert model.training and not model.layers[0].attention._forward_pre_hooks


def test_controls_change_picture_and_words(viewer):
    before, words = viewer.picture.value, viewer.summary
    viewer.layer_slider.value = 1
    assert (viewer.layer, viewer.head) == (1, 0) and "layer 1, head 0" in viewer.summary
    viewer.head_slider.value = 3
    assert viewer.head == 3 and viewer.picture.value != before and viewer.summary != words
    viewer.text_box.value = "another text"
    assert viewer.maps["causal"].labels == viewer.maps["masked"].labels == ("an", "other", "text")
    assert viewer.maps["masked"].weights.shape[-1] == 3 and "3 tokens" in viewer.words.value


def test_it_has_a_picture_and_words_without_a_kernel(viewer):
    data, metadata = viewer._repr_mimebundle_()
    assert data["image/png"].startswith("iVBOR") and data["text/plain"] == viewer.summary
    assert metadata["image/png"]["alt"] == viewer.summary
    assert "upper triangle is dark" in viewer.summary and "upper triangle is lit" in viewer.summary


@pytest.mark.parametrize("text", ["", "a", "日本語 🙂", "$x_1$ <b>\t\n", "word " * 500])
def test_any_text(viewer, text, recwarn):
    viewer.text_box.value = text
    assert len(viewer.maps["causal"].labels) <= 32
    assert viewer.figure().axes and "<b>" not in viewer.words.value
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_wrong_arguments_are_named(tokenizer):
    with pytest.raises(ValueError, match="models"):
        view_attention({}, tokenizer)
    with pytest.raises(TypeError, match="text"):
        attention_maps(small_model(True), tokenizer, 5)
    with pytest.raises(TypeError, match="model"):
        attention_weights(torch.nn.Linear(2, 2), torch.zeros(1, 2, dtype=torch.long))

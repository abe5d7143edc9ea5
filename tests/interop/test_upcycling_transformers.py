"""Any dense model of transformers, upcycled: it computes what it did, can be traced, balanced,
tuned, saved and opened again; what cannot be upcycled is refused by name."""

import pytest
import torch
import transformers
from torch import nn

from moe_lib import RoutingMonitor, trace_routing
from moe_lib.fetching import fetched
from moe_lib.interop import UpcycledBalance, open_upcycled, save_upcycled, upcycle_transformers
from moe_lib.opening import open_model
from moe_lib.text import load_tokenizer

BERT = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
LLAMA = {**BERT, "num_key_value_heads": 1}
GPT2 = dict(n_embd=16, n_layer=2, n_head=2)
SMALL = {
    "BertModel": ("BertConfig", BERT),
    "RobertaForSequenceClassification": ("RobertaConfig", BERT),
    "ElectraModel": ("ElectraConfig", {**BERT, "embedding_size": 16}),
    "DistilBertModel": ("DistilBertConfig", dict(dim=16, n_layers=2, n_heads=2, hidden_dim=32)),
    "GPT2LMHeadModel": ("GPT2Config", GPT2),
    "GPTNeoXForCausalLM": ("GPTNeoXConfig", BERT),
    "LlamaForCausalLM": ("LlamaConfig", LLAMA),
    "Qwen2ForCausalLM": ("Qwen2Config", LLAMA),
    "Qwen3ForCausalLM": ("Qwen3Config", {**LLAMA, "head_dim": 8}),
    "GemmaForCausalLM": ("GemmaConfig", {**LLAMA, "head_dim": 8}),
    "T5ForConditionalGeneration": (
        "T5Config",
        dict(d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0),
    ),
}


def dense(name: str) -> nn.Module:
    config, sizes = SMALL[name]
    torch.manual_seed(0)
    settings = getattr(transformers, config)(vocab_size=50, pad_token_id=0, **sizes)
    model = getattr(transformers, name)(settings).eval()
    with torch.no_grad():  # biases that are not 0, so that a lost one shows
        for weight in model.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return model


def outputs(model: nn.Module) -> torch.Tensor:
    ids = torch.randint(3, 50, (2, 7), generator=torch.Generator().manual_seed(1))
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model(input_ids=ids, **more)[0]


@pytest.mark.parametrize("slices", [1, 2])
@pytest.mark.parametrize("name", SMALL)
def test_it_computes_what_the_dense_model_does(name, slices):
    model = dense(name)
    before = torch.get_rng_state()
    new = upcycle_transformers(model, 4, 2, slices=slices)
    assert torch.equal(before, torch.get_rng_state())
    wanted = outputs(model)
    torch.testing.assert_close(outputs(new), wanted, atol=1e-5, rtol=1e-5)
    noisy = upcycle_transformers(model, 4, 2, slices=slices, noise=0.5)
    assert (outputs(noisy) - wanted).abs().max() > 1e-4


def test_its_routing_is_traced_and_monitored_and_balanced():
    model = upcycle_transformers(dense("BertModel"), 8, 2)
    ids = torch.randint(3, 50, (2, 7))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    trace = trace_routing(model, ids, mask)
    assert [layer.n_experts for layer in trace.layers] == [8, 8]
    assert trace.load(0).sum() == 2 * 11
    with RoutingMonitor(model) as monitor, UpcycledBalance(model) as balance:
        model(input_ids=ids, attention_mask=mask)
        loss = balance(mask)
        loss.backward()
        monitor.step()
    real = mask.bool()
    by_hand = sum(  # E / (k T) Σ count · mean affinity, over the 11 real tokens
        8 / (2 * 11) * (layer.experts[real].flatten().bincount(minlength=8) * mean).sum()
        for layer in trace.layers
        for mean in [layer.scores[real].mean(0)]
    )
    torch.testing.assert_close(loss, by_hand, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="balance: got 'no routing'; wants a forward pass"):
        balance()  # after the block nothing is kept
    assert monitor.frame()["layer"].tolist() == [0, 1]
    assert monitor.frame()["choices"].tolist() == [2 * 11] * 2
    assert all(layer.gate.weight.grad.abs().sum() > 0 for layer in _blocks(model))


def _blocks(model):
    return [m for m in model.modules() if type(m).__name__ == "UpcycledLayer"]


@pytest.mark.parametrize("name", ["BertModel", "GPT2LMHeadModel", "T5ForConditionalGeneration"])
def test_saved_and_opened_it_is_the_same(name, tmp_path):
    model = upcycle_transformers(dense(name), 4, 2, slices=2, noise=0.1)
    again = open_upcycled(save_upcycled(model, tmp_path / "model"))
    assert torch.equal(outputs(again), outputs(model))
    with pytest.raises(ValueError):
        transformers.AutoModel.from_pretrained(tmp_path / "model")


def test_open_model_opens_it_with_its_tokenizer(tmp_path):
    tokenizer = load_tokenizer("course")
    config = transformers.BertConfig(vocab_size=len(tokenizer), **BERT)
    model = upcycle_transformers(transformers.BertModel(config), 4, 2)
    save_upcycled(model, tmp_path / "model", tokenizer)
    opened, its_tokenizer = open_model(tmp_path / "model")
    assert len(its_tokenizer) == len(tokenizer) and len(_blocks(opened)) == 2


def test_what_cannot_be_upcycled_is_named():
    opt = transformers.OPTConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, ffn_dim=32, num_attention_heads=2
    )
    with pytest.raises(ValueError, match="model: got .*OPTForCausalLM"):
        upcycle_transformers(transformers.OPTForCausalLM(opt))
    once = upcycle_transformers(dense("BertModel"), 4, 2)
    with pytest.raises(ValueError, match="model: got .*experts"):
        upcycle_transformers(once)


def test_a_model_of_which_only_a_part_would_be_upcycled_is_refused():
    half = dense("BertModel")
    half.encoder.layer[1].intermediate = nn.Identity()
    with pytest.raises(ValueError, match="1 of whose feed-forward layers were found in 2 blocks"):
        upcycle_transformers(half)


def test_minilm_upcycled_is_minilm():
    if fetched("minilm") is None:
        pytest.skip("minilm was not fetched: course.py models")
    model, tokenizer = open_model("minilm")
    inputs = tokenizer(["Where is my card?", "It was late."], return_tensors="pt", padding=True)
    new = upcycle_transformers(model, 8, 2)
    with torch.no_grad():
        wanted, got = model(**inputs)[0], new(**inputs)[0]
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)

"""Speculation: the text of the model alone, its distribution exactly and by chi-squared, drafts."""

import itertools

import pytest
import torch
from scipy.stats import chisquare

from moe_lib.compression import early_exit_draft, fewer_experts_draft, shared_only_draft, speculate
from moe_lib.compression.speculation import Speculated, chances, residual
from moe_lib.tracing import experts_per_token, trace_routing
from tests.training.small import make_model

PROMPT = torch.randint(0, 20, (1, 5), generator=torch.Generator().manual_seed(1))


def sharp(seed=0, factor=3.0, embedding=20, **changes):
    """A model with opinions: its weights are large."""
    model = make_model(seed, num_hidden_layers=3, **changes).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(factor if "embedding" not in name else embedding)
    return model


DRAFTS = {
    "one expert": lambda model: fewer_experts_draft(model, 1),
    "shared only": shared_only_draft,
    "early exit": lambda model: early_exit_draft(model, 1),
    "another model": lambda model: sharp(5, n_routed_experts=0, n_shared_experts=0),
    "itself": lambda model: model,
}


@pytest.mark.parametrize("attention", ["mha", "mla"])
@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("window", [1, 3, 20])
def test_at_temperature_zero_the_text_is_the_models_own(draft, window, attention):
    more = dict(kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4)
    model = sharp(attention=attention, **(more if attention == "mla" else {}))
    alone = model.generate(PROMPT, 17)
    found = speculate(model, DRAFTS[draft](model), PROMPT, 17, window=window)
    assert torch.equal(found.ids, alone)
    assert all(
        0 <= kept <= guessed for kept, guessed in zip(found.kept, found.guessed, strict=True)
    )
    if draft == "itself":
        assert found.acceptance == 1 and found.kept == found.guessed


def test_the_rule_gives_the_models_chances_whatever_the_draft():
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        p, q = (torch.rand(7, generator=draw, dtype=torch.float64) ** 4 for _ in range(2))
        p[:2] = 0
        p, q = p / p.sum(), q / q.sum()
        kept = torch.minimum(p, q)
        assert torch.allclose(kept + (1 - kept.sum()) * residual(p, q), p, atol=1e-12)
    assert torch.allclose(residual(p, p), p)


@pytest.mark.parametrize("draft", ["shared only", "another model"])
def test_drawn_texts_have_the_models_own_distribution(draft):
    model = sharp(factor=4.0, embedding=1, vocab_size=4, tie_word_embeddings=False)
    other = sharp(5, factor=4.0, embedding=1, vocab_size=4, tie_word_embeddings=False)
    drafted = other if draft == "another model" else DRAFTS[draft](model)
    prompt, draw, n = torch.tensor([[1, 2]]), torch.Generator().manual_seed(0), 500
    texts = list(itertools.product(range(4), repeat=3))
    with torch.no_grad():
        rows = torch.tensor([[1, 2, *text] for text in texts])
        logs = model(rows).logits.double().log_softmax(-1)
    exact = torch.stack([logs[range(64), 1 + i, rows[:, 2 + i]] for i in range(3)]).sum(0).exp()
    assert float(exact.sum()) == pytest.approx(1, abs=1e-5)
    counts = torch.zeros(64)
    for _ in range(n):
        found = speculate(model, drafted, prompt, 3, window=2, temperature=1, generator=draw)
        counts[texts.index(tuple(found.ids[0, 2:].tolist()))] += 1
    frequent = exact * n >= 5
    seen = torch.cat((counts[frequent], counts[~frequent].sum()[None])).double()
    wanted = torch.cat((exact[frequent] * n, exact[~frequent].sum()[None] * n))
    if float(wanted[-1]) < 5:
        seen, wanted = seen[:-1], wanted[:-1]
    wanted = wanted * seen.sum() / wanted.sum()
    assert chisquare(seen.numpy(), wanted.numpy()).pvalue > 0.001
    if drafted is not other:
        return
    with torch.no_grad():  # a draft that nobody verifies would be found out
        logs = drafted(rows).logits.double().log_softmax(-1)
    wrong = torch.stack([logs[range(64), 1 + i, rows[:, 2 + i]] for i in range(3)]).sum(0).exp()
    many = wrong * n >= 5
    against = wrong[many] * counts[many].sum() / wrong[many].sum()
    assert chisquare(counts[many].numpy(), against.numpy()).pvalue < 1e-4


def test_the_draft_with_one_expert_is_the_model_with_k_one():
    model = sharp()
    draft = fewer_experts_draft(model, 1)
    with torch.no_grad(), experts_per_token(model, 1):
        wanted = model(PROMPT).logits
    assert torch.allclose(draft(PROMPT).logits, wanted, atol=1e-6)
    assert model.layers[0].feed_forward.router.num_experts_per_tok == 2
    shared = {parameter.data_ptr() for parameter in model.parameters()}
    assert {parameter.data_ptr() for parameter in draft.parameters()} <= shared


def test_the_early_exit_of_all_but_one_layer_and_the_shared_expert_by_hand():
    model = sharp()
    with torch.no_grad():
        exit_logits = early_exit_draft(model, 2)(PROMPT).logits
        silent = sharp()
        silent.layers[2].attention.o_proj.weight.zero_()
        silent.layers[2].feed_forward.experts.down_proj.zero_()
        silent.layers[2].feed_forward.shared.down_proj.weight.zero_()
        assert torch.allclose(silent(PROMPT).logits, exit_logits, atol=1e-5)
        quiet = sharp()
        for layer in quiet.layers:
            layer.feed_forward.experts.down_proj.zero_()
        assert torch.allclose(
            shared_only_draft(model)(PROMPT).logits, quiet(PROMPT).logits, atol=1e-5
        )


def test_the_distinct_experts_of_a_window_are_those_of_its_trace():
    model = sharp(n_routed_experts=8)
    found = speculate(model, model, PROMPT, 9, window=3)
    assert found.read[0] == 4 and found.kept[0] == 3
    trace = trace_routing(model, found.ids)
    start = PROMPT.shape[1] + 3  # behind the prompt's pass: three guesses and one more; one unread
    for layer in trace.layers:
        chosen = layer.experts[0, start : start + 4]
        assert found.distinct[0][layer.index] == len(chosen.unique())


def test_acceptance_counts_the_guesses_that_were_looked_at():
    found = Speculated(PROMPT, guessed=[4, 4, 2], kept=[4, 1, 0], read=[5, 5, 3])
    found.distinct = [{1: 4, 2: 6}, {1: 2, 2: 4}, {1: 3, 2: 5}]
    assert found.acceptance == 5 / (4 + 2 + 1) and found.tokens_per_pass == 8 / 3
    assert found.distinct_experts == 4


def test_a_tiny_temperature_is_no_temperature():
    assert torch.equal(chances(torch.tensor([[1.0, 3.0, 2.0]]), 1e-30), torch.tensor([[0, 1.0, 0]]))


def test_a_draft_of_another_vocabulary_is_refused():
    model = sharp()
    with pytest.raises(ValueError, match="draft: got 'a vocabulary of 21 tokens'; wants .* 20"):
        speculate(model, sharp(vocab_size=21), PROMPT, 3)

    class Words:
        def __init__(self, **vocabulary):
            self.get_vocab = lambda: vocabulary

    one, other = Words(a=0, b=1), Words(a=1, b=0)
    with pytest.raises(ValueError, match="draft_tokenizer: got 'another vocabulary'"):
        speculate(model, model, PROMPT, 3, tokenizer=one, draft_tokenizer=other)
    speculate(model, model, PROMPT, 3, tokenizer=one, draft_tokenizer=Words(a=0, b=1))

"""Generation: with and without a cache, padded prompts, sampling, stopping, streaming, refusals."""

import numpy as np
import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.model import KVCache
from moe_lib.model.generation import choose

LATENT = dict(
    attention="mla",
    kv_lora_rank=6,
    q_lora_rank=8,
    qk_nope_head_dim=6,
    qk_rope_head_dim=4,
    v_head_dim=5,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=[dict(), LATENT], ids=["mha", "mla"])
def model(request):
    torch.manual_seed(0)
    return LanguageModel(
        ModelConfig(
            vocab_size=40,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=24,
            n_routed_experts=6,
            num_experts_per_tok=2,
            n_shared_experts=1,
            moe_intermediate_size=8,
            first_k_dense_replace=1,
            max_position_embeddings=40,
            initializer_range=0.4,
            **request.param,
        )
    ).train()


PROMPT = torch.tensor([[3, 9, 27, 1], [5, 6, 7, 8]])


def test_same_tokens_with_and_without_cache_and_mode_restored(model):
    cached = model.generate(PROMPT, 20)
    assert torch.equal(cached, model.generate(PROMPT, 20, use_cache=False))
    assert cached.shape == (2, 24) and torch.equal(cached[:, :4], PROMPT)
    assert len(set(cached[0, 4:].tolist())) > 2, "a constant continuation would prove little"
    assert model.training


def test_each_token_is_the_argmax_of_a_fresh_forward(model):
    written = model.generate(PROMPT, 10)
    for t in range(4, 14):
        model.eval()
        assert torch.equal(model(written[:, :t]).logits[:, -1].argmax(-1), written[:, t])
        model.train()


def test_left_padded_prompts_write_what_they_write_alone(model):
    short = torch.tensor([[9, 2]])
    alone = model.generate(short, 12)[0, 2:]
    batch = torch.cat((torch.tensor([[0, 0, 9, 2]]), PROMPT[:1]))
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    for use_cache in (True, False):
        together = model.generate(batch, 12, attention_mask=mask, use_cache=use_cache)
        assert torch.equal(together[0, 4:], alone)
        assert torch.equal(together[1, 4:], model.generate(PROMPT[:1], 12)[0, 4:])


def test_stop_tokens_pad_the_finished_rows(model):
    free = model.generate(PROMPT, 20)
    stop = int(free[0, 6])
    end = free[0, 4:].tolist().index(stop)
    stopped = model.generate(PROMPT, 20, stop_token_ids=[stop], pad_token_id=39)
    assert stopped[0, 4 : 5 + end].tolist() == free[0, 4 : 5 + end].tolist()
    assert set(stopped[0, 5 + end :].tolist()) <= {39}
    only = model.generate(PROMPT[:1], 20, stop_token_ids=[stop])
    assert only.shape[1] == 5 + end, "all rows finished: nothing more to write"


def test_sampling_follows_the_probabilities():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).expand(40_000, 4)
    generator = torch.Generator().manual_seed(0)
    share = torch.bincount(choose(logits, 1.0, generator=generator), minlength=4) / 40_000
    assert torch.allclose(share, logits[0].softmax(-1), atol=0.01)
    cold = torch.bincount(choose(logits, 0.5, generator=generator), minlength=4) / 40_000
    assert torch.allclose(cold, (logits[0] * 2).softmax(-1), atol=0.01)
    top_2 = torch.bincount(choose(logits, 1.0, top_k=2, generator=generator), minlength=4) / 40_000
    assert torch.allclose(top_2, torch.tensor([0.7311, 0.2689, 0, 0]), atol=0.01)
    # probabilities .644 .237 .087 .032: the first two reach 0.7, the first alone does not
    nucleus = (
        torch.bincount(choose(logits, 1.0, top_p=0.7, generator=generator), minlength=4) / 40_000
    )
    assert torch.allclose(nucleus, torch.tensor([0.7311, 0.2689, 0, 0]), atol=0.01)
    assert choose(logits[:3], 1.0, top_p=0.01).tolist() == [0, 0, 0]


def test_seeded_sampling_repeats(model):
    def sample(seed):
        return model.generate(
            PROMPT, 15, temperature=1.0, generator=torch.Generator().manual_seed(seed)
        )

    assert torch.equal(sample(1), sample(1)) and not torch.equal(sample(1), sample(2))


@pytest.mark.parametrize("use_cache", [True, False])
def test_stream_writes_what_generate_writes_with_each_tokens_own_routing(model, use_cache):
    batch = torch.cat((torch.tensor([[0, 0, 9, 2]]), PROMPT[:1]))
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    written = model.generate(batch, 12, attention_mask=mask)
    steps = list(model.stream(batch, 12, attention_mask=mask, use_cache=use_cache))
    assert torch.equal(torch.stack([step.ids for step in steps], dim=1), written[:, 4:])
    assert all(bool(step.real.all()) for step in steps)
    full_mask = torch.cat((mask, torch.ones(2, 12)), dim=1)
    whole = model.eval()(written, attention_mask=full_mask).routing
    model.train()
    for layer, routing in enumerate(whole):
        if routing is None:
            assert all(step.routing[layer] is None for step in steps)
            continue
        experts = torch.stack([step.routing[layer].experts for step in steps], dim=1)
        assert torch.equal(experts, routing.experts.view(2, 16, 2)[:, 4:])
        weights = torch.stack([step.routing[layer].weights for step in steps], dim=1)
        torch.testing.assert_close(
            weights, routing.weights.view(2, 16, 2)[:, 4:], rtol=0, atol=1e-5
        )


def test_stream_stops_marks_finished_rows_and_leaves_the_mode_alone(model):
    free = model.generate(PROMPT, 20)
    stop = int(free[0, 6])
    stopped = model.generate(PROMPT, 20, stop_token_ids=[stop], pad_token_id=39)
    steps = []
    for step in model.stream(PROMPT, 20, stop_token_ids=[stop], pad_token_id=39):
        assert model.training, "the caller may train between two tokens"
        steps.append(step)
    assert torch.equal(torch.stack([step.ids for step in steps], dim=1), stopped[:, 4:])
    for row in range(2):
        real = [bool(step.real[row]) for step in steps]
        assert real == sorted(real, reverse=True), "once finished, always finished"
        last = sum(real) - 1
        assert len(steps) == sum(real) or int(steps[last].ids[row]) == stop
    assert len(list(model.stream(PROMPT, 0))) == 0
    given_up = model.stream(PROMPT, 20)
    next(given_up)
    given_up.close()
    assert model.training and torch.is_grad_enabled()


def test_stream_samples_as_generate_does_and_refuses_at_once(model):
    options = dict(temperature=1.0, top_k=10, top_p=0.9)
    written = model.generate(PROMPT, 10, **options, generator=torch.Generator().manual_seed(1))
    steps = model.stream(PROMPT, 10, **options, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.stack([step.ids for step in steps], dim=1), written[:, 4:])
    with pytest.raises(ValueError, match="max_new_tokens: got 37"):
        model.stream(PROMPT, 37)


def test_refusals_name_the_argument(model):
    masked = LanguageModel(model.config.replace(causal=False))
    cases = [
        ("model: got 'a masked language model'", lambda: masked.generate(PROMPT, 3)),
        ("max_new_tokens: got 37; wants at most 36", lambda: model.generate(PROMPT, 37)),
        ("temperature: got -1", lambda: model.generate(PROMPT, 3, temperature=-1)),
        ("top_p: got 0", lambda: model.generate(PROMPT, 3, top_p=0)),
        ("top_k: got 0", lambda: model.generate(PROMPT, 3, top_k=0)),
        (
            "attention_mask: got 'padding at the end",
            lambda: model.generate(
                PROMPT, 3, attention_mask=torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
            ),
        ),
        ("input_ids: got", lambda: model.generate(torch.empty(1, 0, dtype=torch.long), 3)),
    ]
    for message, call in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_stop_tokens_come_in_many_forms(model):
    free = model.generate(PROMPT, 20)
    stop, other = int(free[0, 6]), int(free[1, 9])
    one = model.generate(PROMPT, 20, stop_token_ids=[stop])
    for form in (stop, {stop}, torch.tensor(stop), torch.tensor([stop]), np.int64(stop)):
        assert torch.equal(model.generate(PROMPT, 20, stop_token_ids=form), one)
    both = model.generate(PROMPT, 20, stop_token_ids=[stop, other])
    for form in ((other, stop), torch.tensor([stop, other]), np.array([stop, other])):
        assert torch.equal(model.generate(PROMPT, 20, stop_token_ids=form), both)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(stop_token_ids=[40]), r"stop_token_ids: got 40; wants ids below vocab_size \(40\)"),
        (dict(stop_token_ids="a"), "stop_token_ids: got 'a'"),
        (dict(stop_token_ids=1.5), "stop_token_ids: got 1.5"),
        (dict(pad_token_id=None), "pad_token_id: got None"),
        (dict(temperature="hot"), "temperature: got 'hot'"),
        (dict(temperature=float("nan")), "temperature: got nan"),
        (dict(top_k=2.5), "top_k: got 2.5"),
        (dict(attention_mask=torch.ones(2, 5)), r"attention_mask: got \(2, 5\)"),
        (dict(attention_mask=torch.ones(4)), r"attention_mask: got \(4,\)"),
        (dict(attention_mask=2 * torch.ones(2, 4)), "attention_mask: got 'other numbers'"),
        (dict(use_cache="no"), "use_cache: got 'no'"),
    ],
)
def test_options_that_are_refused_are_named(model, options, message):
    for write in (model.generate, model.stream):
        with pytest.raises((TypeError, ValueError), match=message):
            write(PROMPT, 3, **options)


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-320])
def test_a_tiny_temperature_takes_the_likeliest_token(temperature):
    logits = torch.tensor([[1.0, 3.0, 2.0], [-50.0, -70.0, -90.0]])
    for options in (dict(), dict(top_k=2), dict(top_p=0.9)):
        assert choose(logits, temperature, **options).tolist() == [1, 0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_named(temperature):
    for bad in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="logits: got 'NaN or infinity'"):
            choose(torch.tensor([[0.0, bad, 1.0]]), temperature)


def test_a_cache_of_another_batch_is_named(model):
    cache = KVCache()
    model(PROMPT, cache=cache)
    with pytest.raises(ValueError, match="cache: got"):
        model(PROMPT[:1], cache=cache)

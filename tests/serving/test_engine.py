"""Requests that share passes and a cache: each must get the text it would get alone."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.model import ROUTERS, ExpertChoiceRouter
from moe_lib.serving import Engine, PagedCache, QueueFull, Request, StaticBatches, poisson_arrivals

SIZES = dict(vocab_size=97, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
SIZES |= dict(n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=16)
SIZES |= dict(max_position_embeddings=96, initializer_range=0.2)
LATENT = dict(
    attention="mla", kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8
)
KINDS = {
    "mla": LATENT,
    "mla, compressed queries, shared expert": LATENT | dict(q_lora_rank=16, n_shared_experts=1),
    "mha": dict(attention="mha"),
    "grouped-query": dict(attention="mha", num_key_value_heads=2),
    "dense": LATENT | dict(n_routed_experts=0),
    "hash": LATENT | dict(router="hash"),
}


def model_of(**settings) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(ModelConfig(**SIZES | settings)).eval()


@pytest.fixture(scope="module")
def model():
    return model_of(**LATENT)


def alone(model, request: Request) -> list[int]:
    generator = torch.Generator().manual_seed(request.seed)
    how = dict(temperature=request.temperature, top_k=request.top_k, top_p=request.top_p)
    how |= dict(stop_token_ids=request.stop_token_ids, generator=generator)
    ids = torch.tensor([list(request.input_ids)])
    return model.generate(ids, request.max_new_tokens, **how)[0, ids.shape[1] :].tolist()


def many(number: int, temperature: float, seed: int = 0) -> list[Request]:
    how = dict(vocab_size=97, prompt_tokens=(1, 20), new_tokens=(1, 30), seed=seed)
    return [one.request for one in poisson_arrivals(number, 1, temperature=temperature, **how)]


@pytest.mark.parametrize("temperature", [0.0, 1.5], ids=["greedy", "sampled"])
@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_of_each_alone(kind, temperature):
    model, requests = model_of(**KINDS[kind]), many(12, temperature)
    expected = [alone(model, request) for request in requests]
    servers = [Engine(model, max_running=3, max_tokens=128), StaticBatches(model, max_running=4)]
    servers += [StaticBatches(model, max_running=3, order="length")]
    for server in servers:
        numbers = [server.submit(request) for request in requests]
        texts = {number: [] for number in numbers}
        while not server.idle:
            for one in server.step():
                texts[one.request].append(one.token)
        assert list(texts.values()) == expected, type(server).__name__


def test_who_joins_later_changes_nothing(model):
    requests, engine, texts = many(10, 1.0, seed=1), Engine(model, max_running=8), {}
    for request in requests:  # one joins between any two steps
        texts[engine.submit(request)] = []
        for one in engine.step():
            texts[one.request].append(one.token)
    for number, rest in engine.run().items():
        texts[number] += rest
    assert list(texts.values()) == [alone(model, request) for request in requests]


def test_mixed_settings_each_with_its_own(model):
    ids = [5, 6, 7]
    requests = [
        Request(ids, 12),
        Request(ids, 12, temperature=2.0, seed=1),
        Request(ids, 12, temperature=2.0, top_k=3, seed=1),
        Request(ids, 12, temperature=2.0, top_p=0.5, seed=1),
        Request(ids, 12, temperature=2.0, seed=2),
    ]
    engine = Engine(model)
    numbers = [engine.submit(request) for request in requests]
    texts = engine.run()
    assert [texts[n] for n in numbers] == [alone(model, request) for request in requests]
    assert len({tuple(text) for text in texts.values()}) == len(requests)


def test_a_stop_token_is_written_and_ends_the_text(model):
    text = alone(model, Request([3, 4], 20))
    stop = text[5]
    engine = Engine(model)
    engine.submit(Request([3, 4], 20, stop_token_ids=stop))
    written = []
    while not engine.idle:
        written += engine.step()
    assert [one.token for one in written] == text[: text.index(stop) + 1]
    assert written[-1].finished == "stop" and not any(one.finished for one in written[:-1])
    assert engine.cache.free_tokens == 4096


def test_routing_is_that_of_this_request_alone(model):
    requests = [
        Request(one.input_ids, one.max_new_tokens, routing=place % 2 == 0)
        for place, one in enumerate(many(6, 0.0))
    ]
    engine, found = Engine(model, max_running=4), {}
    for request in requests:
        engine.submit(request)
    while not engine.idle:
        for one in engine.step():
            found.setdefault(one.request, []).append(one)
    for number, request in enumerate(requests):
        if not request.routing:
            assert all(one.routing is None for one in found[number])
            continue
        text = list(request.input_ids) + [one.token for one in found[number]]
        whole = model(torch.tensor([text[:-1]])).routing  # the last token was never read
        for layer, expected in enumerate(whole):
            parts = [one.routing[layer] for one in found[number]]
            experts = torch.cat([part.experts for part in parts])
            assert torch.equal(experts.sort(1).values, expected.experts.sort(1).values)
            logits = torch.cat([part.logits for part in parts])
            assert torch.allclose(logits, expected.logits, atol=1e-4)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_cancelling_frees_the_place_and_harms_nobody(model, after):
    first, second, third = many(30, 0.0, seed=2)[:3]
    first = Request(first.input_ids, 30)
    engine = Engine(model, max_running=2)
    numbers = [engine.submit(one) for one in (first, second, third)]
    texts = {number: [] for number in numbers}

    def step():
        for one in engine.step():
            texts[one.request].append(one.finished if one.token is None else one.token)

    for _ in range(after):
        step()
    assert engine.cancel(numbers[0]) and not engine.cancel(numbers[0])
    while not engine.idle:
        step()
    assert texts[0] == [*alone(model, first)[:after], "cancelled"]
    assert texts[1] == alone(model, second) and texts[2] == alone(model, third)
    assert engine.cache.free_tokens == 4096 and not engine.cache.pages


def test_a_text_without_finite_logits_ends_alone(model):
    broken = model_of(**LATENT, tie_word_embeddings=False)
    with torch.no_grad():
        broken.embedding.weight[96] = float("nan")
    requests = [Request([1, 96, 2], 5), *many(4, 0.0, seed=3)]
    requests = [
        Request([min(i, 95) if place else i for i in one.input_ids], one.max_new_tokens)
        for place, one in enumerate(requests)
    ]
    requests += [Request([8, 9], 6)]  # takes the pages that the broken one leaves
    engine, texts, ended = Engine(broken, max_running=2, max_tokens=96), {}, {}
    for request in requests:
        engine.submit(request)
    while not engine.idle:
        for one in engine.step():
            texts.setdefault(one.request, []).append(one.token)
            ended[one.request] = one
    assert ended[0].finished == "error" and "NaN" in ended[0].error and texts[0] == [None]
    for number, request in enumerate(requests[1:], start=1):
        assert texts[number] == alone(broken, request)


def test_a_pass_that_fails_ends_those_in_it():
    model, calls = model_of(**LATENT), []

    def out_of_memory(*_):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("no memory left")

    model.layers[0].register_forward_hook(out_of_memory)
    engine = Engine(model)
    engine.submit(Request([1, 2], 9))
    written = []
    while not engine.idle:
        written += engine.step()
    assert written[-1].finished == "error" and written[-1].error == "no memory left"
    assert len(written) == 3 and engine.cache.free_tokens == 4096
    engine.submit(Request([1, 2], 2))
    assert list(engine.run().values()) == [alone(model, Request([1, 2], 2))]


def test_limits_say_what_is_full(model):
    engine = Engine(model, max_running=1, max_tokens=32, max_queue=1, page_size=8)
    with pytest.raises(ValueError, match="request: got '33 positions.*at most 32"):
        engine.submit(Request([1] * 14, 20))
    engine.submit(Request([1] * 13, 20))
    engine.step()
    engine.submit(Request([2], 5))
    with pytest.raises(QueueFull, match="max_queue: got '2 waiting'; wants at most 1"):
        engine.submit(Request([3], 5))
    assert len(engine.run()) == 2


def test_who_waits_for_room_is_not_overtaken(model):
    engine = Engine(model, max_running=4, max_tokens=64, page_size=8)
    long = [engine.submit(Request([1] * 20, 20)) for _ in range(2)]  # 39 positions each
    short = engine.submit(Request([2], 2))
    assert [one.request for one in engine.step()] == long[:1]
    steps = [{one.request for one in engine.step()} for _ in range(60)]
    begins = [next(n for n, step in enumerate(steps) if who in step) for who in (long[1], short)]
    assert begins == [19, 19] and engine.idle  # once the first of 20 tokens is done


def test_pages_never_leak():
    cache = PagedCache(50, page_size=8)
    assert cache.free_tokens == 48
    cache.reserve(7, 17)
    assert cache.free_tokens == 24 and len(set(cache.places(7, 0, 17))) == 17
    with pytest.raises(ValueError, match="tokens: got 25; wants at most 24"):
        cache.reserve(8, 25)
    cache.release(7)
    assert sorted(cache.free) == list(range(6))


def test_models_whose_texts_depend_on_each_other_are_refused():
    with pytest.raises(ValueError, match="model: got 'a masked language model'"):
        Engine(model_of(causal=False))
    model = model_of(**LATENT)
    model.layers[1].feed_forward.router = ExpertChoiceRouter(32, 8, 2)
    with pytest.raises(ValueError, match='router "expert_choice" in any mode'):
        Engine(model.eval())
    model = model_of(**LATENT, capacity_factor=1.0)
    Engine(model)
    model.layers[1].feed_forward.router.train()
    with pytest.raises(ValueError, match="in training mode"):
        Engine(model)


@pytest.mark.parametrize("name", [name for name in ROUTERS if ROUTERS[name].causal])
def test_every_causal_router_is_served(name):
    router = ROUTERS[name]
    k = router.only_k if isinstance(router.only_k, int) else 8 if router.only_k else 2
    groups = dict(n_group=4, topk_group=2) if router.needs_groups else {}
    model = model_of(**LATENT, router=name, num_experts_per_tok=k, **groups)
    requests = many(4, 0.0)
    engine = Engine(model.train())  # it writes in eval mode, and leaves the mode as it was
    for request in requests:
        engine.submit(request)
    texts = engine.run()
    assert model.training
    assert list(texts.values()) == [alone(model.eval(), request) for request in requests]

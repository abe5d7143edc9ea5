"""Taking experts away token by token, against loops by hand and against models built without
them."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.tracing.interventions.disabling import (
    random_experts_off,
    shared_experts_off,
    strongest_experts_off,
)

E, K = 6, 2


def make_model(**changes):
    torch.manual_seed(5)
    sizes = dict(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        n_routed_experts=E,
        num_experts_per_tok=K,
        n_shared_experts=1,
        moe_intermediate_size=8,
        initializer_range=0.4,
    )
    return LanguageModel(ModelConfig(**{**sizes, **changes})).eval()


@pytest.fixture
def ids():
    return torch.randint(0, 40, (3, 10), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def routing(model, ids):
    return model(ids).routing[0]


@pytest.mark.parametrize("n", [1, 3, E - K])
def test_strongest_experts_are_skipped_token_by_token(ids, n):
    model = make_model()
    before = routing(model, ids)
    with strongest_experts_off(model, n):
        after = routing(model, ids)
    for token in range(ids.numel()):
        logits = before.logits[token].tolist()
        ranked = sorted(range(E), key=lambda expert: -logits[expert])
        left = ranked[n:]
        assert after.experts[token].tolist() == left[:K]
        exponentials = {expert: torch.tensor(logits[expert]).exp() for expert in left}
        share = [float(exponentials[expert] / sum(exponentials.values())) for expert in left[:K]]
        assert after.weights[token].tolist() == pytest.approx(share, abs=1e-5)


def test_nothing_off_changes_nothing(ids):
    model = make_model(num_hidden_layers=3)
    with torch.no_grad():
        before = model(ids).logits
        with strongest_experts_off(model, 0):
            torch.testing.assert_close(model(ids).logits, before)
        with random_experts_off(model, 0):
            torch.testing.assert_close(model(ids).logits, before)


def test_random_experts_differ_from_token_to_token_and_come_out_even():
    model, n = make_model(), 2
    ids = torch.randint(0, 40, (20, 100), generator=torch.Generator().manual_seed(2))
    with random_experts_off(model, n, seed=3):
        off = routing(model, ids).logits == -torch.inf  # (tokens, E)
    assert (off.sum(1) == n).all()
    share = off.double().mean(0)
    assert (share - n / E).abs().max() < 0.05  # 2000 tokens: the standard error is 0.01
    chosen = routing(model, ids).experts
    lost = off.gather(1, chosen).double().mean()  # blind to the router's choice
    assert abs(lost - n / E) < 0.05


def test_random_experts_are_the_same_for_the_same_seed(ids):
    model = make_model()
    found = []
    for seed in (3, 3, 4):
        with random_experts_off(model, 2, seed=seed):
            found.append(routing(model, ids).logits == -torch.inf)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_without_shared_experts_equals_a_model_built_without_them(ids):
    model = make_model(num_hidden_layers=3, first_k_dense_replace=1, n_shared_experts=2)
    twin = make_model(
        num_hidden_layers=3, first_k_dense_replace=1, n_shared_experts=0, num_experts_per_tok=K + 2
    )
    twin.load_state_dict(
        {name: weight for name, weight in model.state_dict().items() if ".shared." not in name}
    )
    with torch.no_grad():
        with shared_experts_off(model):
            torch.testing.assert_close(model(ids).logits, twin(ids).logits)
        assert not torch.allclose(model(ids).logits, twin(ids).logits, atol=1e-2)


@pytest.mark.parametrize(
    "take_away",
    [
        lambda model: strongest_experts_off(model, 2),
        lambda model: random_experts_off(model, 2),
        shared_experts_off,
    ],
)
def test_the_model_is_as_it_was_also_after_an_error(ids, take_away):
    model = make_model(num_hidden_layers=2)
    with torch.no_grad():
        before = model(ids).logits
        with pytest.raises(RuntimeError, match="stop"), take_away(model):
            assert not torch.allclose(model(ids).logits, before)
            raise RuntimeError("stop")
        torch.testing.assert_close(model(ids).logits, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    "take_away, model, error, words",
    [
        (
            lambda m: strongest_experts_off(m, E - K + 1),
            make_model,
            ValueError,
            "n: .*6 experts.*7 or more",
        ),
        (lambda m: random_experts_off(m, -1), make_model, ValueError, "n: "),
        (lambda m: random_experts_off(m, 1, seed=-1), make_model, ValueError, "seed"),
        (
            lambda m: strongest_experts_off(m, 1),
            lambda: make_model(n_routed_experts=0, n_shared_experts=0),
            ValueError,
            "dense",
        ),
        (
            lambda m: strongest_experts_off(m, 1),
            lambda: torch.nn.Linear(2, 2),
            TypeError,
            "LanguageModel",
        ),
        (
            lambda m: strongest_experts_off(m, 1),
            lambda: make_model(router="topk_softmax"),
            ValueError,
            "router",
        ),
        (shared_experts_off, lambda: make_model(n_shared_experts=0), ValueError, "shared"),
        (
            shared_experts_off,
            lambda: make_model(num_experts_per_tok=E),
            ValueError,
            "6 experts.*7 or more",
        ),
    ],
)
def test_what_cannot_be_is_refused(take_away, model, error, words):
    with pytest.raises(error, match=words), take_away(model()):
        pass

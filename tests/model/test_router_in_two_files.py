"""A new router is one class and one line: here the class stands in a test, and all else works with
it."""

import ast
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import moe_lib
from moe_lib import (
    LanguageModel,
    ModelConfig,
    explore,
    load_checkpoint,
    save_checkpoint,
    trace_routing,
    train,
)
from moe_lib.counting import count_parameters, flops_per_token
from moe_lib.model import ROUTERS, Router, make_router
from moe_lib.published import sizes_of
from moe_lib.text import load_tokenizer
from moe_lib.tracing import experts_off, experts_per_token, largest_k
from moe_lib.tracing.interventions.disabling import strongest_experts_off
from moe_lib.tracing.routing_in_the_plane import (
    METHODS,
    PlaneSettings,
    offered_methods,
    route_plane,
)
from moe_lib.training.upcycling import upcycle
from moe_lib.tuning.methods import BiasOnly, RouterOnly, count_trainable
from moe_lib.views.parameter_explorer.account import account_of
from moe_lib.views.router_playground import RouterPlayground
from tests.training.small import RandomBatches


class CosineRouter(Router):
    """The logits are cosines between token and expert, times 8, and a learned bias (after X-MoE,
    Chi et al. 2022)."""

    name, title = "cosine", "Cosine (X-MoE, 2022)"
    learned = ("weight", "bias")
    options = (*Router.options, "norm_topk_prob")
    takes_k_best = True

    def logits(self, x):
        x, rows = x.float(), self.weight.float()
        return 8 * F.normalize(x, dim=-1) @ F.normalize(rows, dim=-1).T + self.bias

    def route(self, logits, mask=None):
        scores = logits.softmax(-1)
        weights, experts = scores.topk(self.num_experts_per_tok, dim=-1)
        if self.norm_topk_prob:
            weights = weights / weights.sum(-1, keepdim=True)
        return self.routing(experts, weights, scores, logits)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(ROUTERS, "cosine", CosineRouter)  # the line in routers/__init__.py
    for name, method in offered_methods().items():  # read when the plane was imported
        monkeypatch.setitem(METHODS, name, method)


def config(**changes):
    sizes = dict(vocab_size=20, router="cosine", initializer_range=0.3)
    return ModelConfig.preset("tiny", **{**sizes, **changes})


def make(seed=0, **changes):
    torch.manual_seed(seed)
    return LanguageModel(config(**changes)).eval()


def ids(rows=2, length=12, vocabulary=20):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, vocabulary, (rows, length), generator=generator)


def test_configuration_knows_what_it_takes_and_forbids():
    plain = config(norm_topk_prob=True, capacity_factor=1.0)
    assert plain.aux_loss_alpha == 0.01 and plain.bias_update_speed == 0
    assert ModelConfig.from_dict(plain.to_dict()) == plain
    for changes, message in (
        (dict(scoring_func="sigmoid"), "scoring_func: got 'sigmoid'; wants 'softmax' with router"),
        (dict(bias_update_speed=0.1), 'bias_update_speed: got 0.1; wants 0 with router "cosine"'),
        (dict(load_loss_alpha=0.1), "load_loss_alpha: got 0.1; wants 0"),
        (dict(n_group=4, topk_group=2), "topk_group: got 2; wants 4"),
        (dict(num_experts_per_tok=9), "num_experts_per_tok: got 9; wants at most"),
        (dict(norm_topk_prob=True, num_experts_per_tok=1), "norm_topk_prob: got True"),
        (dict(capacity_factor=-1), "capacity_factor: got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            config(**changes)
    with pytest.raises(TypeError, match="options: got 'temperature'"):
        make_router("cosine", 4, 8, 2, temperature=2)


def test_trains_with_balance():
    model = make(seq_aux=False, capacity_factor=1.0)
    before = {name: value.clone() for name, value in model.named_parameters() if "router" in name}
    history = train(model, RandomBatches(), steps=3, progress=False).history
    assert (history["balance_loss"] > 0).all() and history["loss"].iloc[-1] < history["loss"].iloc[
        0
    ]
    after = dict(model.named_parameters())
    assert before and all(not torch.equal(after[name], value) for name, value in before.items())


def test_parameters_and_flops_are_counted():
    model, per_layer = make(), 8 * 64 + 8
    count = count_parameters(model.config)
    assert count.total == sum(parameter.numel() for parameter in model.parameters())
    assert count.router == count_trainable(RouterOnly(), model.config) == 2 * per_layer
    without_bias = config(router="topk")
    assert flops_per_token(model.config, 9) - flops_per_token(without_bias, 9) == 2 * 2 * 8
    account = account_of(sizes_of(model.config), 1, "bf16")  # of the parameter explorer
    assert account.count.routed_experts == 2 * 8 * 3 * 64 * 64
    attached = BiasOnly().attach(model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == count_trainable(BiasOnly(), model.config) == 2 * 8
    attached.detach()


def test_upcycling_keeps_the_function_where_the_weights_have_a_constant_sum():
    dense = make(n_routed_experts=0, n_shared_experts=0, intermediate_size=32, router="topk")
    mixture = dict(n_routed_experts=6, moe_intermediate_size=32, router="cosine")
    new = upcycle(dense, dense.config.replace(**mixture, norm_topk_prob=True))
    with torch.no_grad():
        assert torch.allclose(new(ids()).logits, dense(ids()).logits, atol=1e-5)
    with pytest.raises(ValueError, match="norm_topk_prob: got False"):
        upcycle(dense, dense.config.replace(**mixture))


def test_traces_switches_and_another_k():
    model, seen = make(), []
    router = model.layers[0].feed_forward.router
    handle = router.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    trace = trace_routing(model, ids())
    handle.remove()
    cosines = F.cosine_similarity(seen[0][:, None], router.weight[None], dim=-1)
    best = cosines.topk(2, dim=-1).indices
    assert torch.equal(trace.layers[0].experts.flatten(0, 1), best)
    with experts_off(model, {0: [int(best[0, 0])]}):
        assert int(best[0, 0]) not in trace_routing(model, ids()).layers[0].experts
    with strongest_experts_off(model, 1):
        assert not (trace_routing(model, ids()).layers[0].experts[0, 0, 0] == best[0, 0])
    twin = make(num_experts_per_tok=5)
    twin.load_state_dict(model.state_dict())
    with torch.no_grad(), experts_per_token(model, 5):
        assert torch.equal(model(ids()).logits, twin(ids()).logits)
    assert largest_k(model) == 8


def test_generates_the_same_with_and_without_a_cache():
    model = make()
    cached = model.generate(ids(), 16)
    assert torch.equal(cached, model.generate(ids(), 16, use_cache=False))
    assert len(cached.unique()) > 2


def test_saved_and_loaded(tmp_path):
    model = make(norm_topk_prob=True)
    nn.init.normal_(model.layers[0].feed_forward.router.bias)
    again, _ = load_checkpoint(save_checkpoint(model, tmp_path))
    assert isinstance(again.layers[0].feed_forward.router, CosineRouter)
    assert again.config == model.config
    theirs = again.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        assert torch.allclose(again(ids()).logits, model(ids()).logits, atol=1e-5)


def test_explorer_and_playground_show_it():
    tokenizer = load_tokenizer()
    explorer = explore(make(vocab_size=len(tokenizer)), tokenizer, "print(3)")
    assert explorer.reading.trace.layers[0].n_experts == 8
    assert "expert" in explorer.summary
    playground = RouterPlayground("cosine", capacity_factor=1.0)
    assert playground.summary.startswith("Cosine (X-MoE, 2022), in training mode: 18 tokens")
    points, arrows = torch.tensor([[2.0, 0.1], [-1.0, 2.0]]), torch.tensor(playground.experts)
    result = route_plane(points, arrows, PlaneSettings(method="cosine", training=False))
    with_one = torch.cat((points, torch.ones(2, 1)), dim=1)  # of the plane: a level for noise
    rows = torch.cat((arrows, torch.zeros(6, 1)), dim=1)
    expected = F.cosine_similarity(with_one[:, None], rows[None], dim=-1).topk(2).indices
    assert torch.equal(result.routing.experts, expected) and result.regions is not None


# Where a router's name may stand outside its folder, and why.
ALLOWED = {
    "config.py": {"topk"},  # the default
    "presets.py": {"biased_topk"},
    "model/moe.py": {"topk"},  # the default
    "tracing/routing_in_the_plane.py": {"topk"},  # the default
    "views/router_playground/widget.py": {"topk"},  # the default
    "interop/configs.py": {"topk", "group_limited"},  # transformers' names for the same routers
}
ORDINARY = {"base", "dense"}  # also the model under a head, and a model without experts


def test_no_file_outside_the_routers_knows_one_by_name():
    root, classes = Path(moe_lib.__file__).parent, {router.__name__ for router in ROUTERS.values()}
    for path in root.rglob("*.py"):
        file = path.relative_to(root).as_posix()
        if file.startswith("model/routers/") or file == "model/__init__.py":  # hands them out
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
        names = {getattr(node, "id", getattr(node, "attr", "")) for node in nodes}
        names |= {node.name for node in nodes if isinstance(node, ast.alias)}
        known = (texts & set(ROUTERS)) - ORDINARY - ALLOWED.get(file, set()) | names & classes
        assert not known, f"moe_lib/{file} knows {sorted(known)}"

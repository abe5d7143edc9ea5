"""Wrong answers to the exercises of chapter 09: each is refused, with the hint that fits it."""

import pytest
import torch

from moe_course import check


def counted(c, *, changes=None, embedding=True, asleep=True):
    """All and active parameters, with some parts left out or counted otherwise."""
    d, heads, layers = c.hidden_size, c.num_attention_heads, c.num_hidden_layers
    n, r, v = c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim
    parts = {
        "matrices": 3,
        "latent norms": c.q_lora_rank + c.kv_lora_rank,
        "block norms": 2 * d,
        "last norm": d,
        "head": c.vocab_size * d,
        "router": c.n_routed_experts * d,
        "shared": c.n_shared_experts,
        "dense layers": c.first_k_dense_replace,
        "kv up": n + v,
        "o": v,
        "awake": c.num_experts_per_tok,
    } | (changes or {})
    attention = d * c.q_lora_rank + c.q_lora_rank * heads * (n + r) + d * (c.kv_lora_rank + r)
    attention += c.kv_lora_rank * heads * parts["kv up"] + heads * parts["o"] * d
    attention += parts["latent norms"] + parts["block norms"]
    expert = parts["matrices"] * d * c.moe_intermediate_size
    moe = parts["router"] + (c.n_routed_experts + parts["shared"]) * expert
    moe_layers = layers - parts["dense layers"]
    total = layers * attention + moe_layers * moe
    total += parts["dense layers"] * parts["matrices"] * d * c.intermediate_size
    total += c.vocab_size * d + parts["head"] + parts["last norm"]
    sleeping = moe_layers * (c.n_routed_experts - parts["awake"]) * expert
    return total, total - asleep * sleeping - embedding * c.vocab_size * d


def without(**parts):
    names = {name.replace("_", " "): value for name, value in parts.items()}
    return lambda c: counted(c, changes=names)


def active_without_shared(c):
    total, active = counted(c)
    shared = c.n_shared_experts * 3 * c.hidden_size * c.moe_intermediate_size
    return total, active - (c.num_hidden_layers - c.first_k_dense_replace) * shared


def active_without_routers(c):
    total, active = counted(c)
    routers = c.n_routed_experts * c.hidden_size
    return total, active - (c.num_hidden_layers - c.first_k_dense_replace) * routers


COUNTS = {
    "no norms": (without(latent_norms=0, block_norms=0, last_norm=0), "the norms are missing"),
    "no last norm": (without(last_norm=0), "norm after the last block"),
    "no norms of latents": (without(latent_norms=0), "norms of the two latents"),
    "no routers": (without(router=0), "the routers are missing"),
    "two matrices": (without(matrices=2), "a SwiGLU has three matrices"),
    "experts in every block": (without(dense_layers=0), "the first ones are dense"),
    "tied output": (without(head=0), "output layer has weights of its own"),
    "no shared experts": (without(shared=0), "the shared experts are missing"),
    "one shared expert": (without(shared=1), "how many are there"),
    "rotary keys per head": (
        lambda c: counted(c, changes={"kv up": 6 + c.qk_nope_head_dim + c.v_head_dim}),
        "does not come out of kv_b_proj",
    ),
    "o reads keys": (
        lambda c: counted(c, changes={"o": c.qk_nope_head_dim}),
        "have a width of their own",
    ),
    "everything is active": (lambda c: (counted(c)[0],) * 2, "leave asleep"),
    "embedding is active": (lambda c: counted(c, embedding=False), "input embedding is counted"),
    "sleepers are active": (lambda c: counted(c, asleep=False), "sleeping experts are counted"),
    "one expert is awake": (
        lambda c: (counted(c)[0], counted(c, changes={"awake": 1})[1]),
        "a token takes several",
    ),
    "shared ones sleep": (active_without_shared, "the shared experts are left out"),
    "routers sleep": (active_without_routers, "the routers are left out"),
    "one number": (lambda c: counted(c)[0], "return two numbers"),
    "the other way round": (lambda c: counted(c)[::-1], "all parameters"),
}


@pytest.mark.parametrize("name", COUNTS)
def test_a_wrong_count_is_refused_with_its_hint(name):
    answer, words = COUNTS[name]
    verdict = check("09.1", answer)
    assert verdict.status == "not yet" and words in verdict.message, verdict


@pytest.mark.parametrize("kind", [int, float, torch.tensor])
def test_the_right_count_passes_as_any_kind_of_number(kind):
    assert check("09.1", lambda c: tuple(map(kind, counted(c)))).passed


def stacked(state, order=None, top="gate", rows=torch.cat, keep=lambda name: True):
    """Experts stacked as asked, or in another order, with another part on top, and so on."""
    new = {name: x for name, x in state.items() if ".mlp.experts." not in name and keep(name)}
    for layer in sorted({name.split(".experts.")[0] for name in state if ".mlp.experts." in name}):
        count = len([name for name in state if name.startswith(f"{layer}.experts.")]) // 3
        names = [f"{layer}.experts.{e}." for e in sorted(range(count), key=order)]
        pair = ("gate", "up") if top == "gate" else ("up", "gate")
        both = [[state[f"{one}{part}_proj.weight"] for part in pair] for one in names]
        new[f"{layer}.experts.gate_up_proj"] = torch.stack([rows(two) for two in both])
        downs = [state[f"{one}down_proj.weight"] for one in names]
        new[f"{layer}.experts.down_proj"] = torch.stack(downs)
    return new


def with_suffix(state):
    new = stacked(state)
    return {n + ".weight" if n.endswith("experts.down_proj") else n: x for n, x in new.items()}


def transposed_down(state):
    return {n: x.mT if n.endswith("experts.down_proj") else x for n, x in stacked(state).items()}


def first_layer_only(state):
    left = {n: x for n, x in stacked(state).items() if "layers.2.mlp.experts" not in n}
    return left


def in_place(state):
    new = stacked(state)
    for name in [name for name in state if ".mlp.experts." in name]:
        del state[name]
    return new


def shared_too(state):
    return stacked(state, keep=lambda name: "experts" not in name)


def changed_router(state):
    return {n: x.flip(0) if n.endswith("mlp.gate.weight") else x for n, x in stacked(state).items()}


FILES = {
    "names as text": (lambda s: stacked(s, order=str), "expert 10 stands before expert 2"),
    "up on top": (lambda s: stacked(s, top="up"), "up stands on top"),
    "rows in turn": (
        lambda s: stacked(s, rows=lambda two: torch.stack(two, 1).flatten(0, 1)),
        "take turns",
    ),
    "gate twice": (lambda s: stacked(s, rows=lambda two: torch.cat((two[0], two[0]))), "twice"),
    "down transposed": (transposed_down, "in another order: did you forget a transpose"),
    "side by side": (lambda s: stacked(s, rows=lambda two: torch.cat(two, 1)), "shape (3, 4, 10)"),
    "both kept": (lambda s: s | stacked(s), "beside the stacked tensors"),
    "one layer": (first_layer_only, "One pair of stacked tensors for each layer"),
    "a suffix": (with_suffix, "is still there"),
    "shared lost": (shared_too, "A shared expert is not one of the routed ones"),
    "given one changed": (in_place, "changes the dictionary"),
    "router changed": (changed_router, "only the routed experts should"),
    "experts alone": (
        lambda s: {n: x for n, x in stacked(s).items() if ".mlp.experts." in n},
        "what is no routed expert stays",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_wrongly_stacked_experts_are_refused_with_their_hint(name):
    answer, words = FILES[name]
    verdict = check("09.2", answer)
    assert verdict.status == "not yet" and words in verdict.message, verdict


def test_rightly_stacked_experts_pass():
    assert check("09.2", stacked).passed


def attention(positions, queries, visible, turned=("q", "k"), drop=False):
    """The exercise's head with every step open: functions of (past, new)."""

    def attend(q, k, v, held_k, held_v, turn):
        past, new = len(held_k), len(q)
        q = turn(q, queries(past, new)) if "q" in turned else q
        k = turn(k, positions(past, new)) if "k" in turned else k
        keys, values = torch.cat((held_k, k)), torch.cat((held_v, v))
        scores = q @ keys.T / q.shape[-1] ** 0.5
        mixed = scores.masked_fill(~visible(past, new), -torch.inf).softmax(-1) @ values
        return mixed if drop else (mixed, keys, values)

    return attend


def after(past, new):
    return past + torch.arange(new)


def again(past, new):
    return torch.arange(new)


def ones(past, new):
    return torch.ones(new, past + new, dtype=torch.bool)


def right(past, new):
    return ones(past, new).tril(past)


def turns_all(q, k, v, held_k, held_v, turn):
    past = len(held_k)
    keys = turn(torch.cat((held_k, k)), torch.arange(past + len(k)))
    values = torch.cat((held_v, v))
    scores = turn(q, after(past, len(q))) @ keys.T / q.shape[-1] ** 0.5
    mixed = scores.masked_fill(~right(past, len(q)), -torch.inf).softmax(-1) @ values
    return mixed, keys, values


def short_mask(past, new):
    return ones(past, new).tril()


HEADS = {
    "keys start again": (attention(again, after, right), "start at position 0 again"),
    "queries start again": (attention(after, again, right), "the queries start at position 0"),
    "the mask of an empty cache": (attention(after, after, short_mask), "that of an empty cache"),
    "queries and mask": (attention(after, again, short_mask), "that of an empty cache"),
    "no mask": (attention(after, after, ones), "sees tokens that come after it"),
    "keys not turned": (attention(after, after, right, turned="q"), "new keys are not turned"),
    "held keys turned again": (turns_all, "are turned already"),
    "off by one": (
        attention(lambda past, new: 1 + after(past, new), after, right),
        "all keys differs",
    ),
    "one mask too far": (
        attention(after, after, lambda past, new: ones(past, new).tril(past + 1)),
        "the mix",
    ),
    "the mix alone": (attention(after, after, right, drop=True), "return the mix, all keys"),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_wrong_cache_is_refused_with_its_hint(name):
    answer, words = HEADS[name]
    verdict = check("09.3", answer)
    assert verdict.status == "not yet" and words in verdict.message, verdict


def test_a_right_cache_passes():
    assert check("09.3", attention(after, after, right)).passed

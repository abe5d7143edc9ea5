"""Checks of the exercises of chapter 09, DeepSeek-V2."""

import torch
from transformers import DeepseekV2Config, DeepseekV2ForCausalLM

from moe_course.checks.comparisons import (
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
)

# Every size another number, so that no wrong product comes out right.
_SIZES = (
    dict(hidden_size=24, intermediate_size=52, num_hidden_layers=4, first_k_dense_replace=1),
    dict(hidden_size=30, intermediate_size=44, num_hidden_layers=3, first_k_dense_replace=2),
)
_EXPERTS = (
    dict(n_routed_experts=12, num_experts_per_tok=5, n_shared_experts=2, moe_intermediate_size=14),
    dict(n_routed_experts=9, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=22),
)
_HEADS = dict(vocab_size=70, num_attention_heads=3, num_key_value_heads=3, n_group=1, topk_group=1)
_HEADS |= dict(kv_lora_rank=10, q_lora_rank=18, qk_nope_head_dim=8, qk_rope_head_dim=6)
_HEADS |= dict(v_head_dim=12, bos_token_id=None, eos_token_id=None, pad_token_id=None)


def check_parameters(parameters):
    for sizes, experts in zip(_SIZES, _EXPERTS, strict=True):
        config = DeepseekV2Config(**_HEADS, **sizes, **experts)
        what = f"{config.num_hidden_layers} layers, {config.n_routed_experts} experts"
        answer = expect_answer(parameters(config), "parameters's answer")
        expect_true(
            isinstance(answer, (tuple, list)) and len(answer) == 2,
            f"{what}: return two numbers, all parameters and the active ones.",
        )
        with torch.device("meta"):  # counted on the official class itself, without memory
            weights = dict(DeepseekV2ForCausalLM(config).named_parameters())
        _expect_counts(answer, config, weights, what)
    return "The official class has exactly as many, and a token passes exactly these."


def _expect_counts(answer, c, weights, what):
    """The two numbers against the tensors of the official class."""
    n = {name: weight.numel() for name, weight in weights.items()}
    total = sum(n.values())

    def of(word):
        return sum(count for name, count in n.items() if word in name)

    norms = of("norm.weight")
    moe_layers = c.num_hidden_layers - c.first_k_dense_replace
    latent = c.num_hidden_layers * (c.q_lora_rank + c.kv_lora_rank)
    expert = 3 * c.hidden_size * c.moe_intermediate_size
    dense = 3 * c.hidden_size * c.intermediate_size
    moe = of(f"layers.{c.num_hidden_layers - 1}.mlp")
    swiglus = of("mlp.experts") + of("shared_experts") + c.first_k_dense_replace * dense
    per_head = c.num_hidden_layers * c.num_attention_heads
    expect_equal(
        _whole(answer[0]),
        total,
        f"{what}: all parameters",
        hints={
            "the norms are missing: two per block, two inside its attention, one at the end": total
            - norms,
            "the norm after the last block is missing": total - c.hidden_size,
            "the norms of the two latents, inside attention, are missing": total - latent,
            "the routers are missing: a row of the width of the stream for each expert": total
            - of("mlp.gate.weight"),
            "a SwiGLU has three matrices: gate, up and down": total - swiglus // 3,
            "every block is counted with experts; the first ones are dense": total
            + c.first_k_dense_replace * (moe - dense),
            "the output layer has weights of its own here, besides the embedding": total
            - of("lm_head"),
            "the shared experts are missing": total - of("shared_experts"),
            "one shared expert is counted; how many are there?": total
            - moe_layers * (c.n_shared_experts - 1) * expert
            if c.n_shared_experts > 1
            else None,
            "the heads share one rotary key: it does not come out of kv_b_proj": total
            + per_head * c.kv_lora_rank * c.qk_rope_head_dim,
            "o_proj reads the values of all heads, which have a width of their own": total
            + per_head * c.hidden_size * (c.qk_nope_head_dim - c.v_head_dim),
        },
    )
    asleep = moe_layers * (c.n_routed_experts - c.num_experts_per_tok) * expert
    embedding = n["model.embed_tokens.weight"]
    active = total - asleep - embedding
    expect_equal(
        _whole(answer[1]),
        active,
        f"{what}: the active parameters",
        hints={
            "these are all of them: how many routed experts does a token leave asleep?": total,
            "the input embedding is counted: looking up a row is no arithmetic": total - asleep,
            "the sleeping experts are counted": total - embedding,
            "the routers are left out: every token passes them": active - of("mlp.gate.weight"),
            "the shared experts are left out: every token passes them": active
            - of("shared_experts"),
            "one expert per layer is counted; a token takes several": active
            - moe_layers * (c.num_experts_per_tok - 1) * expert,
            "the sleeping experts were taken off in every block, also in the dense ones": active
            - c.first_k_dense_replace * asleep // moe_layers,
        },
    )


def _whole(number):
    """An int of a number that is one: counting with torch or with floats is no mistake."""
    if isinstance(number, torch.Tensor) and number.numel() == 1:
        number = number.item()
    return int(number) if isinstance(number, float) and number.is_integer() else number


def check_stack_experts(stack_experts):
    for n_experts, layers, what in (
        (3, (1,), "3 experts in one layer"),
        (12, (1, 2), "12 experts in two layers"),
    ):
        state = _released(n_experts, layers)
        given = dict(state)
        answer = expect_answer(stack_experts(given), "stack_experts's answer")
        expect_true(isinstance(answer, dict), f"{what}: return a dictionary, name -> tensor.")
        unchanged = set(given) == set(state)
        expect_true(unchanged, f"{what}: your function changes the dictionary that it was given.")
        _expect_names(answer, state, layers, what)
        for layer in layers:
            _expect_stacked(answer, state, layer, n_experts, f"{what}: layer {layer}")
        for name, tensor in state.items():
            if ".experts." not in name:
                same = answer[name].shape == tensor.shape and torch.equal(answer[name], tensor)
                expect_true(same, f"{what}: {name} has changed; only the routed experts should.")
    return "Every expert in its place, by number; nothing else is touched."


def _released(n_experts, layers):
    """Names and shapes as in a released checkpoint of hidden size 5, experts of width 4."""
    state = {"model.embed_tokens.weight": torch.randn(7, 5)}
    state["model.layers.0.mlp.gate_proj.weight"] = torch.randn(6, 5)
    for layer in layers:
        mlp = f"model.layers.{layer}.mlp"
        state[f"{mlp}.gate.weight"] = torch.randn(n_experts, 5)
        shapes = {"gate_proj": (4, 5), "up_proj": (4, 5), "down_proj": (5, 4)}
        for part, shape in shapes.items():
            state[f"{mlp}.shared_experts.{part}.weight"] = torch.randn(shape)
            for e in sorted(range(n_experts), key=str):  # a file lists 10 before 2
                state[f"{mlp}.experts.{e}.{part}.weight"] = torch.randn(shape)
    return state


def _expect_names(answer, state, layers, what):
    kept = {name for name in state if ".experts." not in name}
    stacked = {
        f"model.layers.{layer}.mlp.experts.{part}"
        for layer in layers
        for part in ("gate_up_proj", "down_proj")
    }
    left = sorted(name for name in answer if ".experts." in name and name not in stacked)
    expect_true(not left, f"{what}: {left[:1]} is still there, beside the stacked tensors.")
    lost = sorted(kept - set(answer))
    shared = any("shared_experts" in name for name in lost)
    extra = " A shared expert is not one of the routed ones." if shared else ""
    expect_true(not lost, f"{what}: {lost[:1]} is lost; what is no routed expert stays.{extra}")
    missing = sorted(stacked - set(answer))
    expect_true(
        not missing,
        f"{what}: {missing[:1]} is missing. One pair of stacked tensors for each layer with "
        "experts, without “.weight” at the end.",
    )
    extra = sorted(set(answer) - kept - stacked)
    expect_true(not extra, f"{what}: {extra[:1]} is a name that nobody asked for.")


def _expect_stacked(answer, state, layer, n_experts, what):
    base = f"model.layers.{layer}.mlp.experts"

    def parts(order):
        names = ("gate_proj", "up_proj", "down_proj")
        return [[state[f"{base}.{e}.{part}.weight"] for e in order] for part in names]

    gates, ups, downs = parts(range(n_experts))
    by_text = parts(sorted(range(n_experts), key=str))
    swapped = "expert 10 stands before expert 2: names were sorted as text, not by number"
    gate_up = answer[f"{base}.gate_up_proj"]
    expect_shape(gate_up, (n_experts, 8, 5), f"{what}: gate_up_proj")
    expect_close(
        gate_up,
        torch.stack([torch.cat(pair) for pair in zip(gates, ups, strict=True)]),
        f"{what}: gate_up_proj",
        hints={
            "up stands on top of gate": torch.stack(
                [torch.cat(pair) for pair in zip(ups, gates, strict=True)]
            ),
            swapped: torch.stack([torch.cat(pair) for pair in zip(*by_text[:2], strict=True)]),
            "rows of gate and up take turns; want all of gate, then all of up": torch.stack(
                [torch.stack(pair, 1).flatten(0, 1) for pair in zip(gates, ups, strict=True)]
            ),
            "gate stands there twice, up is missing": torch.stack(
                [torch.cat((gate, gate)) for gate in gates]
            ),
        },
    )
    expect_shape(answer[f"{base}.down_proj"], (n_experts, 5, 4), f"{what}: down_proj")
    expect_close(
        answer[f"{base}.down_proj"],
        torch.stack(downs),
        f"{what}: down_proj",
        hints={swapped: torch.stack(by_text[2])},
    )


def check_attend_next(attend_next):
    for parts, what in (
        ((5,), "The first call"),
        ((4, 1, 1), "Token by token"),
        ((3, 2, 4), "Several tokens at once"),
    ):
        q, k, v = torch.randn(3, sum(parts), 6).unbind()
        keys, values, begin = k[:0], v[:0], 0
        for new in parts:
            part = slice(begin, begin + new)
            answer = expect_answer(
                attend_next(q[part], k[part], v[part], keys, values, _turn), "attend_next's answer"
            )
            expect_true(
                isinstance(answer, (tuple, list)) and len(answer) == 3,
                "attend_next: return the mix, all keys and all values.",
            )
            _expect_step(answer, q, k, v, keys, begin, new, f"{what}, {begin} held and {new} new")
            _, keys, values = answer
            begin += new
    return "Positions and mask both go on where the cache ends."


def _turn(x, positions):
    """Pairs (i, i + d/2) of x (n, d), turned by position · 0.7^i."""
    angles = positions[:, None].to(x.dtype) * 0.7 ** torch.arange(x.shape[-1] // 2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat(
        (a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), dim=-1
    )


def _expect_step(answer, q, k, v, held_k, past, new, what):
    """Against attention over the whole text at once, of which the last `new` rows are looked at."""
    mixed, keys, values = answer
    total = past + new
    expect_shape(values, (total, v.shape[1]), f"{what}: all values")
    expect_close(values, v[:total], f"{what}: all values")
    expect_shape(keys, (total, k.shape[1]), f"{what}: all keys")
    everywhere, restarted = torch.arange(total), torch.arange(new)
    expect_close(
        keys,
        _turn(k[:total], everywhere),
        f"{what}: all keys",
        hints={
            "the new tokens start at position 0 again": torch.cat(
                (held_k, _turn(k[past:total], restarted))
            ),
            "the new keys are not turned": torch.cat((held_k, k[past:total])),
            "keys that are held are turned already: turn the new ones only": _turn(
                torch.cat((held_k, k[past:total])), everywhere
            ),
        },
    )
    expect_shape(mixed, (new, v.shape[1]), f"{what}: the mix")
    queries = _turn(q[:total], everywhere)[past:]
    short = torch.ones(new, total, dtype=torch.bool).tril()
    right = torch.ones(new, total, dtype=torch.bool).tril(past)
    args = (_turn(k[:total], everywhere), v[:total])
    expect_close(
        mixed,
        _mix(queries, *args, right),
        f"{what}: the mix",
        hints={
            "the mask is that of an empty cache: its diagonal must start after what is held": _mix(
                queries, *args, short
            ),
            "a query sees tokens that come after it": _mix(queries, *args, torch.ones_like(right)),
            "the queries start at position 0 again": _mix(
                _turn(q[past:total], restarted), *args, right
            ),
            "positions and mask both start at 0 again": _mix(
                _turn(q[past:total], restarted), *args, short
            ),
        },
    )


def _mix(queries, keys, values, visible):
    scores = queries @ keys.T / queries.shape[-1] ** 0.5
    return scores.masked_fill(~visible, -torch.inf).softmax(-1) @ values


CHECKS = {"09.1": check_parameters, "09.2": check_stack_experts, "09.3": check_attend_next}

"""Wrong answers to the exercises of chapter 08: each is refused, with the hint that fits it."""

import math

import torch

from moe_course.checks.chapter_08 import CHECKS
from moe_course.checks.exercises import run_check
from moe_course.checks.verdicts import NOT_ATTEMPTED
from tests.course.checks.wrong_answers import cases, refused


def attend(scores, value):
    return torch.einsum("hs,hsv->hv", scores.softmax(-1), value)


def keys(c, W_UK):
    return torch.einsum("sR,hnR->hsn", c, W_UK)


def expanded(q, c, W_UK, W_UV, scale):
    return attend(torch.einsum("hn,hsn->hs", q, keys(c, W_UK)) * scale, keys(c, W_UV))


def absorbed(q, c, W_UK, W_UV, scale):
    carried = torch.einsum("hn,hnR->hR", q, W_UK)
    return torch.einsum("hR,hvR->hv", (carried @ c.T * scale).softmax(-1) @ c, W_UV)


def one_token_at_a_time(q, c, W_UK, W_UV, scale):
    scores = torch.stack([((W_UK @ latent) * q).sum(-1) for latent in c], dim=1) * scale
    mixed = scores.softmax(-1) @ c
    return torch.einsum("hR,hvR->hv", mixed, W_UV)


def one_token_and_head_at_a_time(q, c, W_UK, W_UV, scale):
    mixes = []
    for head, query in enumerate(q):
        scores = torch.stack([query @ (W_UK[head] @ latent) for latent in c]) * scale
        mixes.append(W_UV[head] @ (scores.softmax(0) @ c))
    return torch.stack(mixes)


def head_by_head(q, c, W_UK, W_UV, scale):
    heads = zip(q, W_UK, W_UV, strict=True)
    return torch.stack(
        [attend((key @ c.T).T @ query * scale, (c @ up.T)) for query, key, up in heads]
    )


def values_of_every_token(q, c, W_UK, W_UV, scale):
    carried = torch.einsum("hn,hnR->hR", q, W_UK)
    return attend(carried @ c.T * scale, keys(c, W_UV))


def keys_inside_one_call(q, c, W_UK, W_UV, scale):
    weights = (torch.einsum("sR,hnR,hn->hs", c, W_UK, q) * scale).softmax(-1)
    return torch.einsum("hR,hvR->hv", weights @ c, W_UV)


def no_softmax(q, c, W_UK, W_UV, scale):
    scores = torch.einsum("hn,hnR->hR", q, W_UK) @ c.T * scale
    return torch.einsum("hR,hvR->hv", scores @ c, W_UV)


def over_heads(q, c, W_UK, W_UV, scale):
    scores = torch.einsum("hn,hnR->hR", q, W_UK) @ c.T * scale
    return torch.einsum("hR,hvR->hv", scores.softmax(0) @ c, W_UV)


def latents_mixed(q, c, W_UK, W_UV, scale):
    scores = torch.einsum("hn,hnR->hR", q, W_UK) @ c.T * scale
    return scores.softmax(-1) @ c


ABSORBED = {
    "keys and values of every token": (expanded, "keys or values for all of them"),
    "one token at a time": (one_token_at_a_time, "one after the other"),
    "one token and head at a time": (one_token_and_head_at_a_time, "one after the other"),
    "values of every token": (values_of_every_token, "keys or values for all of them"),
    "keys inside one einsum": (keys_inside_one_call, "keys or values for all of them"),
    "no scale": (lambda q, c, k, v, s: absorbed(q, c, k, v, 1.0), "not multiplied by `scale`"),
    "scale of a latent": (
        lambda q, c, k, v, s: absorbed(q, c, k, v, c.shape[1] ** -0.5),
        "that of a latent",
    ),
    "scale twice": (lambda q, c, k, v, s: absorbed(q * s, c, k, v, s), "scaled twice"),
    "divided by scale": (lambda q, c, k, v, s: absorbed(q, c, k, v, 1 / s), "divided by `scale`"),
    "softmax over heads": (over_heads, "runs over the heads"),
    "no softmax": (no_softmax, "not a softmax"),
    "newest token": (lambda q, c, k, v, s: absorbed(q, c[-1:], k, v, s), "only the newest token"),
    "all alike": (lambda q, c, k, v, s: absorbed(0 * q, c, k, v, s), "all past tokens count alike"),
    "not brought back": (latents_mixed, r"shape \(3, 4\); want \(3, 5\)"),
}


def numbers(sizes, heads="num_key_value_heads", kinds=2, rank=1, rope=1):
    if sizes.kv_lora_rank is None:
        return kinds * getattr(sizes, heads) * sizes.head_dim
    return rank * sizes.kv_lora_rank + rope * sizes.qk_rope_head_dim


def cache(layers=lambda s: s.num_hidden_layers, byte=lambda n, bits: n * bits / 8, **parts):
    return lambda sizes, bits: byte(layers(sizes) * numbers(sizes, **parts), bits)


def mla_as_mha(sizes, bits):
    width = sizes.head_dim or sizes.kv_lora_rank + sizes.qk_rope_head_dim
    return sizes.num_hidden_layers * 2 * sizes.num_key_value_heads * width * bits / 8


def rope_per_head(sizes, bits):
    return cache(rope=sizes.num_key_value_heads)(sizes, bits)


CACHE = {
    "keys only": (cache(kinds=1), "keys are counted, values are not"),
    "all heads": (cache(heads="num_attention_heads"), "all heads are counted"),
    "one layer": (cache(layers=lambda s: 1), "this is one layer"),
    "bits": (cache(byte=lambda n, bits: n * bits), "these are bits"),
    "numbers": (cache(byte=lambda n, bits: float(n)), "these are numbers"),
    "whole bytes": (cache(byte=lambda n, bits: n * (bits // 8)), "part of a byte is lost"),
    "latent twice": (cache(rank=2), "one latent: it is kept once"),
    "all of MLA twice": (cache(rank=2, rope=2), "keys and values both"),
    "no rotary key": (cache(rope=0), "rotary key is kept too"),
    "a rotary key per head": (rope_per_head, "shared by all heads"),
    "MLA's latent per head": (mla_as_mha, "belongs to no head"),
    "two bytes always": (cache(byte=lambda n, bits: 2.0 * n), "two bytes each"),
}


def stretched(factor=lambda m: m**2, on="scores", always=False, m=None):
    def answer(query, key, value, scaling):
        scores = torch.einsum("hd,hsd->hs", query, key) / math.sqrt(query.shape[-1])
        times = 1.0
        if scaling is not None:
            all_dim = scaling["mscale_all_dim"]
            mscale = m(scaling) if m else 0.1 * all_dim * math.log(scaling["factor"]) + 1
            times = factor(mscale)
        if on == "values":
            return attend(scores, value) * times
        return attend(scores * times, value)

    return answer


def no_root(query, key, value, scaling):
    return stretched()(query * math.sqrt(query.shape[-1]), key, value, scaling)


ATTEND = {
    "the broken code": (stretched(lambda m: m), "the first token is right"),
    "no factor": (stretched(lambda m: 1.0), "attention without scaling"),
    "doubled": (stretched(lambda m: 2 * m), "mscale is doubled"),
    "without all_dim": (
        stretched(m=lambda s: 0.1 * math.log(s["factor"]) + 1),
        "not the factor mscale_all_dim",
    ),
    "values scaled": (stretched(on="values"), "values are scaled"),
    "divided": (stretched(lambda m: m**-2), "divided by mscale"),
    "to the fourth": (stretched(lambda m: m**4), "four times"),
    "logarithm to base 10": (
        stretched(m=lambda s: 0.1 * s["mscale_all_dim"] * math.log10(s["factor"]) + 1),
        "natural logarithm",
    ),
    "the factor itself": (stretched(m=lambda s: s["factor"] ** 0.5), "the factor itself"),
    "no root of the width": (no_root, "square root of the width"),
}


@cases(ABSORBED)
def test_wrong_absorbed_attention_is_refused_with_its_hint(answer, hint):
    refused("08.1", answer, hint)


@cases(CACHE)
def test_wrong_count_of_a_cache_is_refused_with_its_hint(answer, hint):
    refused("08.2", answer, hint)


@cases(ATTEND)
def test_wrong_attention_of_a_stretched_model_is_refused_with_its_hint(answer, hint):
    refused("08.3", answer, hint)


def absorbed_by_loops(q, c, W_UK, W_UV, scale):
    """Slow, and right: one head after the other, one past token after the other."""
    mixes = []
    for query, to_key, to_value in zip(q, W_UK, W_UV, strict=True):
        carried = to_key.T @ query
        weights = torch.stack([carried @ latent for latent in c]).mul(scale).softmax(0)
        mixes.append(to_value @ sum(w * latent for w, latent in zip(weights, c, strict=True)))
    return torch.stack(mixes)


def absorbed_by_matmul(q, c, W_UK, W_UV, scale):
    carried = (q.unsqueeze(1) @ W_UK).squeeze(1)
    mixed = torch.softmax(carried @ c.T * scale, dim=-1) @ c
    return (W_UV @ mixed.unsqueeze(-1)).squeeze(-1)


def test_right_answers_of_several_styles_pass_and_no_answer_is_none():
    for exercise, answer in (
        ("08.1", absorbed),
        ("08.1", absorbed_by_loops),
        ("08.1", absorbed_by_matmul),
        ("08.2", cache()),
        ("08.3", stretched()),
    ):
        torch.manual_seed(0)
        assert run_check(exercise, CHECKS[exercise], answer).passed, answer
        nothing = run_check(exercise, CHECKS[exercise], lambda *arguments: None)
        assert nothing.status == NOT_ATTEMPTED

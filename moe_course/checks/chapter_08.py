"""Checks of the exercises of chapter 08, latent attention."""

import math
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from moe_course.checks.comparisons import expect_answer, expect_close, expect_shape, expect_true
from moe_lib.model.rotary import yarn_mscale


class _Made(TorchDispatchMode):
    """Counts the numbers in all new tensors that torch makes meanwhile, inside its functions, too.
    A view of an argument is nothing new."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = {_storage(one) for one in tree_leaves((args, kwargs)) if _is_tensor(one)}
        made = [one for one in tree_leaves(result) if _is_tensor(one)]
        self.numbers += sum(one.numel() for one in made if _storage(one) not in given)
        return result


def _is_tensor(value) -> bool:
    return isinstance(value, torch.Tensor)


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _attend(scores, value):
    """scores (heads, S), value (heads, S, v) -> (heads, v)"""
    return torch.einsum("hs,hsv->hv", scores.softmax(-1), value)


def _through(matrix, c, scores, v):
    """The mix of latents sent through another matrix (heads, n, d_c); no answer if n is not v."""
    if matrix.shape[1] != v:
        return torch.empty(0)
    return torch.einsum("hnc,hc->hn", matrix, scores.softmax(-1) @ c)


def check_absorbed(absorbed_attention):
    for heads, n, v, d_c, S in ((3, 7, 5, 4, 6), (2, 4, 4, 4, 1), (4, 60, 60, 5, 300)):
        q, c = torch.randn(heads, n), torch.randn(S, d_c)
        W_UK, W_UV = torch.randn(heads, n, d_c), torch.randn(heads, v, d_c)
        scale = 0.7 / math.sqrt(n)
        with _Made() as made:
            answer = expect_answer(
                absorbed_attention(q, c, W_UK, W_UV, scale), "absorbed_attention's answer"
            )
        what = f"absorbed_attention with {heads} heads and {S} past tokens"
        expect_shape(answer, (heads, v), what)
        key, value = torch.einsum("sc,hnc->hsn", c, W_UK), torch.einsum("sc,hvc->hsv", c, W_UV)
        scores = torch.einsum("hn,hsn->hs", q, key)
        expect_close(
            answer,
            _attend(scores * scale, value),
            what,
            hints={
                "the scores are not multiplied by `scale`": _attend(scores, value),
                "the scale is that of a latent, 1/√d_c. The scores are the same numbers as "
                "before, so the scale stays": _attend(scores / math.sqrt(d_c), value),
                "the softmax runs over the heads. Every head spreads its attention over the "
                "past tokens": torch.einsum("hs,hsv->hv", (scores * scale).softmax(0), value),
                "the mix stays in the space of the latents, or goes back through W_UK: the mix of "
                "latents wants W_UV": _through(W_UK, c, scores * scale, v),
                "the query is scaled twice": _attend(scores * scale**2, value),
                "the scores are divided by `scale`; multiply": _attend(scores / scale, value),
                "only the newest token is read: the weights belong to all S of them": value[:, -1],
                "all past tokens count alike: where are the scores?": value.mean(1),
                "the weights are not a softmax: they are the scores themselves": torch.einsum(
                    "hs,hsv->hv", scores * scale, value
                ),
            },
        )
        # What must be made grows with S as the scores do, a few numbers a head and token.
        expect_true(
            made.numbers < 0.9 * heads * S * min(n, v) or S < 300,
            f"{what}: the numbers are right. But your code makes {made.numbers:,} numbers on the "
            f"way, {made.numbers / (heads * S):.0f} for every head and past token: keys or values "
            "for all of them, at once or one after the other. Carry the query to the latents "
            "instead, and bring the mix of latents back.",
        )
    return "One query per head is carried, and no past key or value is made."


def check_cache_bytes(cache_bytes):
    def model(layers, heads, kept, head_dim, rank=None, rope=0):
        return SimpleNamespace(
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kept,
            head_dim=head_dim,
            kv_lora_rank=rank,
            qk_rope_head_dim=rope,
        )

    cases = {
        "a model with MHA": model(3, 8, 8, 16),
        "a model with GQA": model(5, 8, 2, 16),
        "a model with MLA": model(4, 8, 8, None, 96, 32),
    }
    for name, sizes in cases.items():
        for bits in (6, 16):
            answer = expect_answer(cache_bytes(sizes, bits), "cache_bytes's answer")
            layers, kept, what = (
                sizes.num_hidden_layers,
                sizes.num_key_value_heads,
                f"The cache of {name} in {bits} bits",
            )
            if sizes.kv_lora_rank is None:
                numbers = layers * 2 * kept * sizes.head_dim
                hints = {
                    "keys are counted, values are not (or the other way round)": numbers
                    * bits
                    / 16,
                    "all heads are counted; only num_key_value_heads of them are kept": layers
                    * 2
                    * sizes.num_attention_heads
                    * sizes.head_dim
                    * bits
                    / 8,
                }
            else:
                numbers = layers * (sizes.kv_lora_rank + sizes.qk_rope_head_dim)
                hints = {
                    "the latent serves for keys and values both: it is kept once": 2
                    * numbers
                    * bits
                    / 8,
                    "keys and values are made of one latent: it is kept once": layers
                    * (2 * sizes.kv_lora_rank + sizes.qk_rope_head_dim)
                    * bits
                    / 8,
                    "MLA's latent and rotary key are counted for every head; what is kept "
                    "belongs to no head": 2 * kept * numbers * bits / 8,
                    "MLA's latent is counted for every head; it belongs to no head": kept
                    * numbers
                    * bits
                    / 8,
                    "the rotary key is kept too": layers * sizes.kv_lora_rank * bits / 8,
                    "the rotary key is shared by all heads: it is kept once": layers
                    * (sizes.kv_lora_rank + kept * sizes.qk_rope_head_dim)
                    * bits
                    / 8,
                }
            right = numbers * bits / 8
            hints |= {
                "this is one layer; want all of them": right / layers,
                "these are bits; a byte has 8": right * 8,
                "these are numbers; each takes bits / 8 bytes": float(numbers),
                "all numbers take two bytes each here; `bits` says what they take": 2.0 * numbers,
                "part of a byte is lost: 6 bits are 0.75 bytes. Divide with /, and "
                "at the end": numbers * (bits // 8),
            }
            expect_close(
                answer,
                right,
                what,
                hints={text: wrong for text, wrong in hints.items() if wrong != right},
            )
    return "Two formulas cover them all: what is kept per layer, times layers, times bits."


def _mscale_base_10(scaling) -> float:
    if not scaling:
        return 1.0
    return 0.1 * scaling["mscale_all_dim"] * math.log10(scaling["factor"]) + 1


def check_attend(attend):
    heads, width, v = 3, 12, 5
    scalings = (
        None,
        {"factor": 40.0, "mscale_all_dim": 0.707},
        {"factor": 8.0, "mscale_all_dim": 1.0},
    )
    for S in (1, 9):
        for scaling in scalings:
            query, key, value = (
                torch.randn(heads, width),
                torch.randn(heads, S, width),
                torch.randn(heads, S, v),
            )
            answer = attend(query, key, value, None if scaling is None else dict(scaling))
            answer = expect_answer(answer, "attend's answer")
            what = f"With {S} key{'s' * (S > 1)} and scaling {scaling}"
            expect_shape(answer, (heads, v), what)
            scores = torch.einsum("hd,hsd->hs", query, key) / math.sqrt(width)
            mscale = yarn_mscale(scaling["factor"], scaling["mscale_all_dim"]) if scaling else 1.0
            hints = {
                "this is attention without scaling. A stretched model wants larger scores": _attend(
                    scores, value
                ),
                "the first token is right, the later ones are not: look at the factor of the "
                "scores, and count "
                "how often it must be there": _attend(scores * mscale, value),
                "mscale is doubled: query and key are both multiplied, so their factors "
                "multiply too": _attend(scores * 2 * mscale, value) if scaling else 0,
                "mscale² is there, but not the factor mscale_all_dim in it": _attend(
                    scores * yarn_mscale(scaling["factor"]) ** 2, value
                )
                if scaling
                else 0,
                "the scores are divided by mscale², so they shrink": _attend(
                    scores / mscale**2, value
                ),
                "mscale is there four times: once for the query, once for the key": _attend(
                    scores * mscale**4, value
                ),
                "the scores are multiplied by the factor itself; want mscale²": _attend(
                    scores * (scaling["factor"] if scaling else 1), value
                ),
                "the logarithm is to base 10; want the natural logarithm, math.log": _attend(
                    scores * _mscale_base_10(scaling) ** 2, value
                ),
                "the scores are not divided by the square root of the width": _attend(
                    scores * mscale**2 * math.sqrt(width), value
                ),
                "the values are scaled, not the scores": _attend(scores, value) * mscale**2,
            }
            expect_close(answer, _attend(scores * mscale**2, value), what, hints=hints)
    return "One factor for the query, one for the key: the scores get the square."


CHECKS = {"08.1": check_absorbed, "08.2": check_cache_bytes, "08.3": check_attend}

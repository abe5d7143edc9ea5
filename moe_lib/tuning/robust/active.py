"""Active learning: which texts should somebody label next? Those the model is least sure of, or
any.

It buys labels, so it is supervised learning (Settles 2009), unlike self-training.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_lib.errors import is_whole, require, require_takes
from moe_lib.tuning.arguments import Listed
from moe_lib.tuning.examples import Encoded, Examples
from moe_lib.tuning.heads import SequenceClassifier
from moe_lib.tuning.predicting import predict
from moe_lib.validation import Callback, Choice, Count, Natural, Seed, checked, require_tensor

CHOICES = ("entropy", "margin", "random")


@checked
def uncertainty(probabilities: Tensor, how: Choice(*CHOICES[:2])) -> Tensor:
    """(n, K) -> (n,), larger where the model is less sure.

    "entropy": −Σ p log p in nats, 0 to log K; "margin": 1 − (largest p − second largest p), 0 to 1
    """
    require_tensor("probabilities", probabilities, ("n", "K"), "floating", low=0, high=1)
    require(not bool(probabilities.isnan().any()), "probabilities", "a NaN", "numbers from 0 to 1")
    fits = how == "entropy" or probabilities.shape[1] > 1
    require(fits, "probabilities", tuple(probabilities.shape), "at least two classes for a margin")
    if how == "entropy":
        return torch.special.entr(probabilities.double()).sum(-1)
    first, second = probabilities.double().topk(2, dim=-1).values.unbind(-1)
    return 1 - (first - second)


@dataclass(frozen=True)
class ActivelyLearned:
    """head: of the last round; rounds: the rows of `pool` labelled by then, per round, in the order
    of the buying."""

    head: SequenceClassifier
    rounds: list[list[int]]


@checked
def learn_actively(
    fit: Callable,
    pool: Encoded,
    first: Listed,
    *,
    batch: Count,
    rounds: Natural,
    how: Choice(*CHOICES) = "entropy",
    seed: Seed = 0,
    after: Callback = None,
) -> ActivelyLearned:
    """Begin with the labels of rows `first`; in each round buy `batch` more, and train anew.

    fit    (rows, round from 0) -> a trained head
    pool   labelled rows; a label is looked at only when it is bought
    how    "entropy" or "margin": the least certain rows by the last head. "random": any
    after  called with the head and the round, to measure it

    Raises ValueError if the pool has fewer rows than are to be bought, or `first` has rows twice or
    outside.
    """
    require_takes("fit", fit, "rows", "a round")
    require_takes("after", after, "a head", "a round")
    for index in first:
        require(is_whole(index), "first", index, "whole numbers", TypeError)
    bought = [int(index) for index in first]
    inside = len(set(bought)) == len(bought) > 0 and all(0 <= index < len(pool) for index in bought)
    require(inside, "first", bought[:5], f"rows of the pool, 0 to {len(pool) - 1}, none twice")
    wanted = len(bought) + batch * rounds
    require(
        wanted <= len(pool),
        "rounds",
        f"{wanted} labels in all",
        f"at most {len(pool)}, the rows of the pool",
    )
    generator, history = torch.Generator().manual_seed(seed), [list(bought)]
    head = _fitted(fit, pool.select(bought), 0)
    for round_ in range(1, rounds + 1):
        if after is not None:
            after(head, round_ - 1)
        owned = set(bought)
        left = [index for index in range(len(pool)) if index not in owned]
        if how == "random":
            places = torch.randperm(len(left), generator=generator)[:batch].tolist()
        else:
            bare = Encoded(
                [{"input_ids": pool.rows[index]["input_ids"]} for index in left], pool.pad_token_id
            )
            scores = uncertainty(predict(head, Examples(bare, 64)).probabilities, how)
            places = scores.argsort(descending=True, stable=True)[:batch].tolist()
        bought += [left[place] for place in places]
        history.append(list(bought))
        head = _fitted(fit, pool.select(bought), round_)
    if after is not None:
        after(head, rounds)
    return ActivelyLearned(head, history)


def _fitted(fit: Callable, rows: Encoded, round_: int):
    head, wants = fit(rows, round_), "to return a trained head"
    require(hasattr(head, "count_right"), "fit", head, wants, TypeError)
    return head

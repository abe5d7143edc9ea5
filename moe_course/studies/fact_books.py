"""Books to be learned by heart, and a book that follows a rule: batches for `train`.

A fact is (first name, last name) -> one of 64 numbers. In a `PhoneBook` the numbers are drawn at
random, so nothing but storing them helps. In a `RuleBook` two names have hidden ranks, and the
number says which rank is higher: there pairs are asked for that were never shown.
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from moe_lib.model import LanguageModel
from moe_lib.validation import Count, Natural, Seed, checked, whole

NAMES, NUMBERS = 128, 64  # first names, last names; numbers to remember
BATCH = 1024
Facts = Annotated[int, whole(1, NAMES**2)]  # at most as many as there are pairs of names


class PhoneBook:
    """`n_facts` random facts as batches for `train`.

    input_ids   (n_facts, 3): first name, last name, number, each from its own part of the
                vocabulary
    labels      the same with -100 at the names: only the number is asked for

    `.at(step)` gives a batch of `batch_size` facts; every epoch takes each fact once, in a new
    order. ValueError for more facts than there are pairs of names.
    """

    vocab_size = 2 * NAMES + NUMBERS

    @checked
    def __init__(self, n_facts: Facts, seed: Seed = 0, batch_size: Count = BATCH):
        draw = torch.Generator().manual_seed(seed)
        pair = torch.randperm(NAMES**2, generator=draw)[:n_facts]
        number = torch.randint(NUMBERS, (n_facts,), generator=draw)
        self.input_ids = torch.stack(
            [pair // NAMES, NAMES + pair % NAMES, 2 * NAMES + number], dim=1
        )  # (n_facts, 3)
        self.labels = self.input_ids.clone()
        self.labels[:, :2] = -100
        self.seed, self.batch_size = seed, batch_size

    def __len__(self) -> int:
        """Batches per epoch."""
        return math.ceil(len(self.input_ids) / self.batch_size)

    @checked
    def at(self, step: Natural) -> dict[str, Tensor]:
        epoch, place = divmod(step, len(self))
        order = torch.Generator().manual_seed(1_000_003 * (self.seed + 1) + epoch)
        chosen = torch.randperm(len(self.input_ids), generator=order)
        chosen = chosen[place * self.batch_size : (place + 1) * self.batch_size]
        return {"input_ids": self.input_ids[chosen], "labels": self.labels[chosen]}

    @torch.no_grad()
    def known(self, model: LanguageModel) -> tuple[Tensor, float]:
        """-> (n_facts,) bool, the facts whose number the model says; and its loss in bits per fact.

        Only the numbers compete: a model is not asked whether it knows that a number is due.
        """
        device = next(model.parameters()).device
        hits, bits = [], 0.0
        for ids in self.input_ids.to(device).split(4096):
            logits = model(ids).logits[:, 1, 2 * NAMES :].float()  # (facts, 64), after both names
            number = ids[:, 2] - 2 * NAMES
            hits.append(logits.argmax(-1) == number)
            loss = torch.nn.functional.cross_entropy(logits, number, reduction="sum")
            bits += float(loss) / math.log(2)
        return torch.cat(hits).cpu(), bits / len(self.input_ids)


class RuleBook(PhoneBook):
    """Which of the two names has the higher rank? Ranks are random and hidden; two numbers answer.

    Facts are `n_facts` of all pairs; `.unseen` holds the others, asked with `known` like a
    PhoneBook.
    """

    def __init__(self, n_facts: int, seed: int = 0, batch_size: int = BATCH):
        super().__init__(n_facts, seed, batch_size)
        draw = torch.Generator().manual_seed(seed + 1)
        rank = torch.randperm(2 * NAMES, generator=draw)
        every = torch.randperm(NAMES**2, generator=torch.Generator().manual_seed(seed))
        first, last = every // NAMES, NAMES + every % NAMES
        answer = 2 * NAMES + (rank[first] > rank[last]).long()
        rows = torch.stack([first, last, answer], dim=1)
        self.input_ids, self.unseen_ids = rows[:n_facts], rows[n_facts:]
        self.labels = self.input_ids.clone()
        self.labels[:, :2] = -100

    @property
    def unseen(self) -> PhoneBook:
        """The pairs that are never trained on, as a book to ask."""
        other = PhoneBook(1, self.seed, self.batch_size)
        other.input_ids = self.unseen_ids
        return other

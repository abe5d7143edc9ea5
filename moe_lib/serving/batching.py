"""Static batching, to compare with: a batch is put together, padded, and runs until its last text
is done. What has ended before goes on taking its place."""

from collections import deque

import torch
from torch import Tensor, nn

from moe_lib.model import KVCache
from moe_lib.model.generation import writing_mode
from moe_lib.serving.requests import Request, Running, Work, Written, servable, taken
from moe_lib.validation import Choice, Count, checked


class StaticBatches:
    """As `Engine`, with batches that nobody joins or leaves.

    max_running  texts in a batch at most; 1: one after the other
    order        who goes together: "arrival", in the order of coming; "length", the one that waits
                 longest and its neighbours by max_new_tokens and then by the prompt's length: what
                 costs alike

    The texts are those of `Engine`. Prompts are padded on the left.
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        *,
        max_running: Count = 8,
        order: Choice("arrival", "length") = "arrival",
    ):
        self.model, self.max_running, self.order = servable(model), max_running, order
        self.waiting: deque[Running] = deque()
        self.work, self._submitted = Work(), 0
        self._batch: list[Running] = []
        self._going: set[int] = set()

    @property
    def idle(self) -> bool:
        return not (self._going or self.waiting)

    def submit(self, request: Request) -> int:
        self.waiting.append(taken(self.model, self._submitted, request))
        self._submitted += 1
        return self._submitted - 1

    @torch.no_grad()
    def step(self) -> list[Written]:
        """One pass: the prompts of a new batch, or one token more of every text in it."""
        if self._going:
            columns = torch.tensor([[one.new[-1]] for one in self._batch], device=self.mask.device)
            self.mask = torch.cat((self.mask, torch.ones_like(self.mask[:, :1])), dim=1)
            padded = len(self._batch) - len(self._going)
        elif self.waiting:
            self._batch = self._together()
            self._going = {one.number for one in self._batch}
            columns, self.mask = left_padded([one.prompt for one in self._batch], self.model.device)
            self.cache, padded = KVCache(), int((~self.mask).sum())
        else:
            return []
        with writing_mode(self.model):
            mask = None if bool(self.mask.all()) else self.mask
            output = self.model(columns, mask, cache=self.cache, last_logits_only=True)
        self.work.passes += 1
        self.work.positions += columns.numel()
        self.work.padded += padded
        return self._write(output.logits[:, -1])

    def _write(self, logits: Tensor) -> list[Written]:
        """logits (rows, vocab) -> the tokens of texts that go on; the others repeat their last."""
        written = []
        for row, one in enumerate(self._batch):
            if one.number in self._going:
                written.append(one.write(logits[row]))
                if written[-1].finished:
                    self._going.discard(one.number)
        self.work.tokens += sum(one.token is not None for one in written)
        return written

    def _together(self) -> list[Running]:
        """The next batch, out of those who wait."""
        batch = list(self.waiting)
        if self.order == "length":
            batch.sort(key=lambda one: (one.request.max_new_tokens, len(one.prompt)))
            oldest = batch.index(self.waiting[0])
            first = max(0, min(oldest - self.max_running // 2, len(batch) - self.max_running))
            batch = batch[first:]
        batch = batch[: self.max_running]
        for one in batch:
            self.waiting.remove(one)
        return batch


def left_padded(prompts: list[list[int]], device=None) -> tuple[Tensor, Tensor]:
    """-> ids (rows, longest) int64 with 0 at padding, and a mask like it, True at tokens."""
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
    mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = True
    return ids.to(device), mask.to(device)

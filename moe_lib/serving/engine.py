"""Continuous batching: requests join and leave between two steps, and the others do not wait (Yu et
al. 2022, Orca)."""

from collections import deque
from dataclasses import fields, replace

import torch
from torch import nn

from moe_lib.errors import refusal, require
from moe_lib.model import KVCache, Routing
from moe_lib.model.generation import writing_mode
from moe_lib.serving.pages import PagedCache, PagedStep
from moe_lib.serving.requests import QueueFull, Request, Running, Work, Written, servable, taken
from moe_lib.validation import Count, Natural, checked


class Engine:
    """Writes several texts at once with one model and one cache.

        engine = Engine(model)
        number = engine.submit(Request(ids, max_new_tokens=20))
        while not engine.idle:
            for written in engine.step():
                ...

    model        a causal LanguageModel, of latent or multi-head attention; it runs in eval mode
    max_running  requests in one pass at most
    max_tokens   positions in the cache. A request starts once there is room for all it may come to
                 hold, prompt + max_new_tokens - 1, rounded up to pages of `page_size` positions; so
                 none is ever thrown out
    max_queue    requests that may wait besides. They start in the order of their coming; a long one
                 is not overtaken

    Each text is the one that `LanguageModel.generate` writes of it alone, with a CPU generator of
    the request's seed: exactly so but for rounding, which differs between one row and several.
    There is no thread inside, and no lock: one thread calls all methods.

    ValueError or TypeError for a masked model, a router that looks at a token's neighbours, or
    sizes out of range.
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        *,
        max_running: Count = 8,
        max_tokens: Count = 4096,
        max_queue: Natural = 64,
        page_size: Count = 16,
    ):
        self.model, self.max_running, self.max_queue = servable(model), max_running, max_queue
        self.cache, self.work = PagedCache(max_tokens, page_size), Work()
        self.waiting: deque[Running] = deque()
        self.running: list[Running] = []
        self._submitted, self._ended = 0, []

    @property
    def idle(self) -> bool:
        """Nothing is left to do or to report."""
        return not (self.running or self.waiting or self._ended)

    def submit(self, request: Request) -> int:
        """Put a request into the queue -> its number. ValueError or TypeError if it can never be
        done; QueueFull if it may come again later."""
        new = taken(self.model, self._submitted, request)
        most = self.cache.n_pages * self.cache.page_size
        got = f"{new.most} positions, prompt + max_new_tokens - 1"
        require(new.most <= most, "request", got, f"at most {most}, the whole cache (max_tokens)")
        ready = self.max_running - len(self.running)  # these do not have to wait
        if len(self.waiting) >= self.max_queue + max(0, ready):
            wants = f"at most {self.max_queue}: ask again later"
            raise QueueFull(refusal("max_queue", f"{len(self.waiting) + 1} waiting", wants))
        self._submitted += 1
        self.waiting.append(new)
        return new.number

    def cancel(self, number: int) -> bool:
        """End a request now; its pages are free at once, and the next step reports it "cancelled".
        False if there is none of this number any more."""
        for group in (self.running, self.waiting):
            for one in group:
                if one.number == number:
                    group.remove(one)
                    if group is self.running:
                        self.cache.release(number)
                    self._ended.append(Written(number, None, finished="cancelled"))
                    return True
        return False

    @torch.no_grad()
    def step(self) -> list[Written]:
        """Let those in who fit, and write one token of every text: the prompts of new ones are read
        whole, equally long ones together; then the others' last tokens, all in one pass."""
        written, self._ended = self._ended, []
        old, new = list(self.running), self._admit()
        with writing_mode(self.model):
            lengths = sorted({len(one.prompt) for one in new})
            for length in lengths:
                written += self._start([one for one in new if len(one.prompt) == length])
            written += self._go_on(old)
        self.work.tokens += sum(one.token is not None for one in written)
        done = {one.request for one in written if one.finished}
        for one in [one for one in self.running if one.number in done]:
            self.running.remove(one)
            self.cache.release(one.number)
        return written

    def run(self) -> dict[int, list[int]]:
        """Step until nothing is left -> {number: the new tokens} of what was written by then."""
        texts: dict[int, list[int]] = {}
        while not self.idle:
            for one in self.step():
                texts.setdefault(one.request, [])
                texts[one.request] += [] if one.token is None else [one.token]
        return dict(sorted(texts.items()))

    def _admit(self) -> list[Running]:
        new = []
        while self.waiting and len(self.running) < self.max_running:
            if self.cache.pages_for(self.waiting[0].most) > len(self.cache.free):
                break
            one = self.waiting.popleft()
            self.cache.reserve(one.number, one.most)
            self.running.append(one)
            new.append(one)
        return new

    def _start(self, new: list[Running]) -> list[Written]:
        """Read prompts of one length."""
        prompts = torch.tensor([one.prompt for one in new], device=self.model.device)
        cache = KVCache()
        written = self._read(new, prompts, None, cache)
        for row, one in enumerate(new):
            if one.new:
                self.cache.fill(one.number, cache, row)
        return written

    def _go_on(self, old: list[Running]) -> list[Written]:
        """Read the token that each has written last."""
        if not old:
            return []
        last = torch.tensor([[one.new[-1]] for one in old], device=self.model.device)
        owners, lengths = [one.number for one in old], [one.held for one in old]
        step = PagedStep(self.cache, owners, lengths, self.model.device)
        return self._read(old, last, step.attention_mask, step)

    def _read(self, who: list[Running], ids: torch.Tensor, mask, cache) -> list[Written]:
        """ids (rows, columns) -> the next token of every row. A pass that fails, for want of memory
        or because of what a hook does, ends these requests and no others."""
        try:
            output = self.model(ids, mask, cache=cache, last_logits_only=True)
        except (RuntimeError, ValueError) as error:
            return [Written(one.number, None, None, "error", str(error)) for one in who]
        self.work.passes += 1
        self.work.positions += ids.numel()
        logits, written = output.logits[:, -1], []  # (rows, vocab)
        for row, one in enumerate(who):
            asked = one.request.routing
            routing = rows_of(output.routing, row, len(ids)) if asked else None
            written.append(one.write(logits[row], routing))
        return written


def rows_of(routings: list[Routing | None], row: int, rows: int) -> list[Routing | None]:
    """Of every layer's Routing, (rows · columns) tokens, those of one row."""
    found = []
    for routing in routings:
        if routing is not None:
            there = {field.name: getattr(routing, field.name) for field in fields(routing)}
            mine = {
                name: value.unflatten(0, (rows, -1))[row].clone()
                for name, value in there.items()
                if value is not None
            }
            routing = replace(routing, **mine)
        found.append(routing)
    return found

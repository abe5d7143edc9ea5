"""One cache for all running requests, in pages: a request holds the pages it needs, and no row has
to be as long as the longest (Kwon et al. 2023, PagedAttention, arXiv 2309.06180)."""

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.model import KVCache
from moe_lib.validation import Count, checked


class PagedCache:
    """Room for `max_tokens` positions, in pages of `page_size`.

    Of every layer it keeps what a `KVCache` keeps: in latent attention the latents with their
    rotary key, else keys and values, each (positions + 1, heads, width). The last position is zero
    for ever and stands wherever a row has nothing: what a request leaves behind, be it NaN,
    reaches nobody.

    ValueError for sizes below one, and when pages are asked for that are not free.
    """

    @checked
    def __init__(self, max_tokens: Count, page_size: Count = 16):
        wants = f"at most max_tokens ({max_tokens})"
        require(page_size <= max_tokens, "page_size", page_size, wants)
        self.page_size = page_size
        self.free = list(reversed(range(max_tokens // page_size)))  # numbers of free pages
        self.n_pages, self.nothing = len(self.free), len(self.free) * page_size
        self.pages: dict[int, list[int]] = {}  # by request
        self.pools: dict[tuple[str, int], Tensor] = {}

    @property
    def free_tokens(self) -> int:
        """Positions on pages that nobody holds."""
        return len(self.free) * self.page_size

    def pages_for(self, tokens: int) -> int:
        return -(-tokens // self.page_size)

    def reserve(self, owner: int, tokens: int) -> None:
        """Pages for so many positions, which stay the owner's until `release`."""
        n = self.pages_for(tokens)
        require(n <= len(self.free), "tokens", tokens, f"at most {self.free_tokens}, what is free")
        require(owner not in self.pages, "owner", owner, "one that holds no pages")
        self.pages[owner] = [self.free.pop() for _ in range(n)]

    def release(self, owner: int) -> None:
        self.free.extend(reversed(self.pages.pop(owner)))

    def places(self, owner: int, start: int, end: int) -> list[int]:
        """Where positions `start` to `end` of the owner's text stand in the pools."""
        held, size = self.pages[owner], self.page_size
        return [held[p // size] * size + p % size for p in range(start, end)]

    def fill(self, owner: int, prompt: KVCache, row: int) -> None:
        """Keep what `prompt` holds of one row, from position 0 on."""
        where = self.places(owner, 0, prompt.length)
        for name in ("keys", "values"):
            for layer, held in enumerate(getattr(prompt, name)):  # (rows, heads, length, width)
                pool = self.pool(name, layer, held)
                pool[where] = held[row].transpose(0, 1)

    def pool(self, name: str, layer: int, like: Tensor) -> Tensor:
        """(positions + 1, heads, width), made at first use."""
        if (name, layer) not in self.pools:
            shape = self.nothing + 1, like.shape[1], like.shape[3]
            self.pools[name, layer] = like.new_zeros(shape)
        return self.pools[name, layer]


class PagedStep:
    """What a LanguageModel takes as its cache to read one new token for each of several requests.

    owners   requests in the order of the rows
    lengths  positions that each holds: its first ones; the new one stands behind the longest

    attention_mask (rows, length + 1) bool, or None if all are equally long, goes with it.
    """

    def __init__(self, cache: PagedCache, owners: list[int], lengths: list[int], device=None):
        self.cache, self.length, n = cache, max(lengths), len(owners)
        index = torch.full((n, self.length), cache.nothing)  # (rows, length)
        real = torch.zeros(n, self.length + 1, dtype=torch.bool)
        real[:, -1] = True
        new = []
        for row, (owner, length) in enumerate(zip(owners, lengths, strict=True)):
            *old, last = cache.places(owner, 0, length + 1)
            index[row, :length], real[row, :length] = torch.tensor(old), True
            new.append(last)
        self.index, self.new = index.to(device), torch.tensor(new, device=device)
        self.attention_mask = None if min(lengths) == self.length else real.to(device)

    def append(self, layer: int, key: Tensor, value: Tensor | None = None) -> tuple:
        """key (rows, heads, 1, width) -> (rows, heads, length + 1, width); so the value."""
        keys = self._extend("keys", layer, key)
        return keys, None if value is None else self._extend("values", layer, value)

    def _extend(self, name: str, layer: int, new: Tensor) -> Tensor:
        pool = self.cache.pool(name, layer, new)
        held = pool[self.index].transpose(1, 2)  # (rows, heads, length, width)
        pool[self.new] = new[:, :, 0]
        return torch.cat((held, new), dim=2)

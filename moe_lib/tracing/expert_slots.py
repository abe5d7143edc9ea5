"""A cache of experts: which ones stand in its slots, and which one makes room.

The same object serves the simulation (`moe_lib.tracing.expert_cache`) and the real thing
(`moe_lib.serving.offloading`), so that what is simulated is what is done.
"""

from collections.abc import Sequence

from moe_lib.errors import require, require_one_of
from moe_lib.validation import Count, checked

EMPTY = -1  # a slot without an expert
ONLINE = ("lru", "lfu")  # policies that need no knowledge of what comes
NEVER = float("inf")


class ExpertSlots:
    """The slots of one layer.

    num_slots  experts that fit at once
    policy     who goes when room is needed: "lru", the expert whose last use is longest ago; "lfu",
               the one with the fewest uses since the start, in the cache or out of it (among equals
               the one used longest ago); "belady", the one whose next use is farthest ahead
               (Belady 1966), which needs `next_use` at every request

    An expert that the request itself needs never makes room. Empty slots are filled first.
    """

    @checked
    def __init__(self, num_slots: Count, policy: str = "lru"):
        require_one_of("policy", policy, (*ONLINE, "belady"))
        self.policy = policy
        self.slots = [EMPTY] * num_slots
        self._place: dict[int, int] = {}  # expert -> slot
        self._uses: dict[int, int] = {}  # expert -> uses since the start
        self._worth: dict[int, tuple] = {}  # expert -> the smallest in the cache makes room
        self._clock = 0

    def __contains__(self, expert: int) -> bool:
        return expert in self._place

    def place(self, expert: int) -> int:
        """The slot of an expert that is there."""
        return self._place[expert]

    def request(
        self, experts: Sequence[int], next_use: Sequence[float] | None = None
    ) -> list[tuple[int, int, int]]:
        """All of `experts` must be there at once: [(slot, expert, who left or EMPTY)] of those that
        were loaded. `experts` different from each other, best first; among those of one token the
        last one counts as used longest ago."""
        loaded = self.bring(experts)
        for rank in range(len(experts) - 1, -1, -1):
            expert = experts[rank]
            self._clock += 1
            self._uses[expert] = uses = self._uses.get(expert, 0) + 1
            if self.policy == "belady":
                self._worth[expert] = -next_use[rank], self._clock
            else:
                self._worth[expert] = uses if self.policy == "lfu" else 0, self._clock
        return loaded

    def bring(self, experts: Sequence[int]) -> list[tuple[int, int, int]]:
        """Load those of `experts` that are missing, as `request` does, without counting a use: a
        prefetch."""
        require(
            len(experts) <= len(self.slots),
            "num_slots",
            len(self.slots),
            f"a slot for each of the {len(experts)} experts that one token needs at once",
        )
        needed, loaded = set(experts), []
        for expert in experts:
            if expert in self._place:
                continue
            slot = self._room(needed)
            gone = self.slots[slot]
            self._place.pop(gone, None)
            self.slots[slot], self._place[expert] = expert, slot
            self._worth.setdefault(expert, (-NEVER, 0))  # brought on a guess, never used yet
            loaded.append((slot, expert, gone))
        return loaded

    def _room(self, needed: set[int]) -> int:
        if len(self._place) < len(self.slots):
            return self.slots.index(EMPTY)
        free = [expert for expert in self._place if expert not in needed]
        return self._place[min(free, key=self._worth.__getitem__)]

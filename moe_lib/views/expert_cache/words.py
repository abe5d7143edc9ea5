"""What the player shows, in words."""

from moe_lib.tracing.expert_cache import CacheEvent
from moe_lib.views.expert_cache.course_of_cache import Course
from moe_lib.views.kit.wording import apart, count, percent

POLICIES = {
    "lru": "LRU: the one unused for longest goes",
    "lfu": "LFU: the one used least often goes",
    "static": "static: the most used stay for ever",
    "belady": "Belady: the one needed latest goes (knows the future)",
}
NAMES = {"lru": "LRU", "lfu": "LFU", "static": "static", "belady": "Belady"}


def experts_words(experts: tuple[int, ...]) -> str:
    """ "expert 3", "experts 3, 5 and 8", "none"."""
    if not experts:
        return "none"
    *most, last = map(str, experts)
    return f"experts {', '.join(most)} and {last}" if most else f"expert {last}"


def token_words(event: CacheEvent, number: int, tokens: int, word: str | None) -> str:
    """What one token did."""
    name = f"Token {number} of {tokens}" + ("" if word is None else f", {apart(word)}")
    parts = [
        f"{name}, needs {experts_words(event.experts)}",
        f"there: {experts_words(event.hits)}",
        f"loaded: {experts_words(event.misses)}",
    ]
    if event.evicted:
        parts.append(f"had to go: {experts_words(event.evicted)}")
    return "; ".join(parts) + "."


def rate_words(course: Course, place: int, policy: str) -> str:
    """The hit rate so far, and those it is compared with."""
    own, mixed, best = (
        percent(rates[place]) for rates in (course.rates, course.shuffled, course.belady)
    )
    return (
        f"After {count(place + 1, 'token')} {own} of the experts were there when they were needed "
        f"({NAMES[policy]}); {mixed} with the tokens shuffled, {best} with Belady, which knows "
        "what comes and guesses nothing."
    )


def load_words(course: Course) -> str:
    """What the whole text costs: a guess is a load, too."""
    cache = course.cache
    said = f"The whole text loads {count(cache.loads, 'expert')}"
    if not cache.prefetched:
        return f"{said}."
    guessed = f"{cache.prefetched} of them on a guess, and {cache.useful} of these were needed"
    return f"{said}, {guessed}."

"""Wrong input of the engine, of its requests, of batches and of simulated arrivals."""

from functools import cache

from tests.wrong_input.models import new_model, small
from tests.wrong_input.table import (
    COUNT,
    FLAG,
    MODEL,
    NATURAL,
    NON_NEGATIVE,
    POSITIVE,
    Entry,
    Made,
)

ROOM = "moe_lib.serving."
MASKED = Made("masked", lambda _: new_model(causal=False))


@cache
def request(new: int = 3):
    from moe_lib.serving import Request

    return Request([1, 2], new)


def server(kind: str = "Engine", **settings):
    from moe_lib import serving

    return getattr(serving, kind)(small(), **settings)


def busy(_):
    engine = server()
    engine.submit(request())
    return engine


def arrivals():
    from moe_lib.serving import Arrival

    return [Arrival(0.0, request())]


REQUESTS = [None, 3, [1, 2], Made("too long", lambda _: request(10_000))]
ENTRIES = [
    Entry(
        ROOM + "Request",
        lambda: dict(input_ids=[1, 2], max_new_tokens=3),
        {
            "input_ids": [None, "text", [1.5], [-1], [[1]]],
            "max_new_tokens": COUNT,
            "temperature": NON_NEGATIVE,
            "top_k": [0, -1, 1.5, True],
            "top_p": [0.0, 1.5, True, "0.5"],
            "seed": [-1, 0.5, "1", None],
            "routing": FLAG,
        },
    ),
    Entry(
        ROOM + "Engine",
        lambda: dict(model=small()),
        {
            "model": [*MODEL, MASKED],
            "max_running": COUNT,
            "max_tokens": COUNT,
            "max_queue": NATURAL,
            "page_size": [*COUNT, 10_000],
        },
    ),
    Entry(
        ROOM + "Engine.submit",
        lambda: dict(request=request()),
        {"request": REQUESTS},
        {"request": "wants"},
        lambda arguments: server().submit(**arguments),
    ),
    Entry(
        ROOM + "StaticBatches",
        lambda: dict(model=small()),
        {"model": [*MODEL, MASKED], "max_running": COUNT, "order": ["size", None, 3]},
    ),
    Entry(
        ROOM + "StaticBatches.submit",
        lambda: dict(request=request()),
        {"request": REQUESTS},
        {"request": "wants"},
        lambda arguments: server("StaticBatches").submit(**arguments),
    ),
    Entry(
        ROOM + "PagedCache",
        lambda: dict(max_tokens=64, page_size=16),
        {"max_tokens": COUNT, "page_size": [*COUNT, 65]},
    ),
    Entry(
        ROOM + "poisson_arrivals",
        lambda: dict(number=3, rate=0.5, vocab_size=20),
        {
            "number": COUNT,
            "rate": POSITIVE,
            "vocab_size": COUNT,
            "prompt_tokens": [(0, 3), (4, 3), None, 5],
            "new_tokens": [(0, 3), (4, 3), None, 5],
            "temperature": NON_NEGATIVE,
            "seed": [-1, 0.5, "1", None],
        },
    ),
    Entry(
        ROOM + "simulate",
        lambda: dict(server=server(), arrivals=arrivals(), unit="passes"),
        {
            "server": [None, 3, Made("busy", busy)],
            "arrivals": [None, 3, [], [3]],
            "unit": ["hours", None],
        },
    ),
]
EXEMPT = {
    ROOM + name: "a record that the library makes"
    for name in ("Arrival", "QueueFull", "Served", "Simulated", "Work", "Written")
}

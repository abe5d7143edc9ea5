"""`python -m moe_lib.fetching` (course.py models): fetch what is not there yet, and say so."""

import sys

from moe_lib.fetching.sources import SOURCES
from moe_lib.fetching.store import fetch, fetched


def fetch_all() -> int:
    """Fetch every model of SOURCES that is missing; the number of those that could not be had."""
    failed = 0
    for name, source in SOURCES.items():
        if folder := fetched(name):
            print(f"{name}: is there ({folder})", flush=True)
            continue
        print(f"{name}: {source.about} ({source.licence})", flush=True)
        try:
            fetch(name, lambda line: print(f"  {line}", flush=True))
        except OSError as error:
            print(f"  {error}", file=sys.stderr, flush=True)
            failed += 1
    return failed


if __name__ == "__main__":
    try:
        sys.exit(1 if fetch_all() else 0)
    except KeyboardInterrupt:
        sys.exit(130)

"""Two real, small models that the course opens by name, fetched once and kept."""

from moe_lib.fetching.sources import SOURCES
from moe_lib.fetching.store import fetch, fetched

__all__ = ["SOURCES", "fetch", "fetched"]

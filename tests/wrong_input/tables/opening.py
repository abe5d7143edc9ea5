"""Opening a model or a tokenizer by its name or folder."""

from moe_lib.fetching import fetch, fetched
from tests.wrong_input.table import FLAG, PATH, Entry


def _fetch_if_there(**arguments):
    """Fetches nothing in a test: the call that works needs the model to be there."""
    if arguments == dict(name="minilm", say=None) and fetched("minilm") is None:
        return None
    return fetch(**arguments)


ENTRIES = [
    Entry(
        "moe_lib.opening.open_model",
        lambda: dict(name_or_folder="mini-causal", trust_remote_code=False),
        {"name_or_folder": PATH, "trust_remote_code": FLAG},
    ),
    Entry(
        "moe_lib.fetching.fetched",
        lambda: dict(name="minilm"),
        {"name": [None, 3, "", "MiniLM", "../minilm", ["minilm"], b"minilm"]},
    ),
    Entry(
        "moe_lib.fetching.fetch",
        lambda: dict(name="minilm", say=None),
        {"name": [None, 3, "", "MiniLM", "../minilm", ["minilm"], b"minilm"], "say": [3, "print"]},
        call=lambda arguments: _fetch_if_there(**arguments),
    ),
    Entry(
        "moe_lib.opening.check_openable",
        lambda: dict(name_or_folder="mini-causal"),
        {"name_or_folder": PATH},
    ),
]

"""Opening a model or a tokenizer by its name or folder."""

from tests.wrong_input.table import FLAG, PATH, Entry

ENTRIES = [
    Entry(
        "moe_lib.opening.open_model",
        lambda: dict(name_or_folder="mini-causal", trust_remote_code=False),
        {"name_or_folder": PATH, "trust_remote_code": FLAG},
    ),
    Entry(
        "moe_lib.opening.check_openable",
        lambda: dict(name_or_folder="mini-causal"),
        {"name_or_folder": PATH},
    ),
]

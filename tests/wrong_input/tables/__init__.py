"""The entries, a module per room of the library; EXEMPT says why a public name has none."""

from tests.wrong_input.table import Entry

ENTRIES: list[Entry] = []
EXEMPT: dict[str, str] = {}

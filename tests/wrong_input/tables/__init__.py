"""The entries, a module per room of the library; EXEMPT says why a public name has none."""

from tests.wrong_input.table import Entry
from tests.wrong_input.tables import interop, tracing, views

ENTRIES: list[Entry] = [*interop.ENTRIES, *tracing.ENTRIES, *views.ENTRIES]
EXEMPT: dict[str, str] = {}

"""The entries, a module per room of the library; EXEMPT says why a public name has none."""

from tests.wrong_input.table import Entry
from tests.wrong_input.tables import interop, tracing

ENTRIES: list[Entry] = [*interop.ENTRIES, *tracing.ENTRIES]
EXEMPT: dict[str, str] = {}

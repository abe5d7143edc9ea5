"""The entries, a module per room of the library.

Every module of this folder has ENTRIES, and may have EXEMPT: public name -> why it has no entry.
"""

from importlib import import_module
from pkgutil import iter_modules

from tests.wrong_input.table import Entry

_TABLES = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
ENTRIES: list[Entry] = [entry for table in _TABLES for entry in table.ENTRIES]
EXEMPT: dict[str, str] = {
    name: why for table in _TABLES for name, why in getattr(table, "EXEMPT", {}).items()
}

"""The entries, a module per room of the library; EXEMPT says why a public name has none."""

from tests.wrong_input.table import Entry
from tests.wrong_input.tables import (
    interop,
    tracing,
    tuning_encode,
    tuning_few_labels,
    tuning_files,
    tuning_finetune,
    tuning_heads,
    tuning_methods,
    tuning_metrics,
    tuning_prompting,
    tuning_results,
    tuning_robust,
)

ENTRIES: list[Entry] = [
    *interop.ENTRIES,
    *tracing.ENTRIES,
    *tuning_encode.ENTRIES,
    *tuning_few_labels.ENTRIES,
    *tuning_files.ENTRIES,
    *tuning_finetune.ENTRIES,
    *tuning_heads.ENTRIES,
    *tuning_methods.ENTRIES,
    *tuning_metrics.ENTRIES,
    *tuning_prompting.ENTRIES,
    *tuning_results.ENTRIES,
    *tuning_robust.ENTRIES,
]
EXEMPT: dict[str, str] = {
    **tuning_few_labels.EXEMPT,
    **tuning_finetune.EXEMPT,
    **tuning_methods.EXEMPT,
    **tuning_robust.EXEMPT,
}

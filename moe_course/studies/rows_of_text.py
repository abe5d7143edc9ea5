"""What `experts_on_text` reads: rows of the mixture and of the packages' docstrings.

    python -m moe_course.studies.rows_of_text

stores what the runs of seed 0 read first, for the notebook: experts_on_text_opening.safetensors.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from moe_course.studies.running import STUDIES, parser_of
from moe_lib.console import run_command
from moe_lib.errors import require
from moe_lib.files import read_tensors, write_tensors
from moe_lib.text import Batches, encode_corpus, evaluation_batches, load_corpus, load_tokenizer
from moe_lib.text.corpora.mixture import repeat_written
from moe_lib.validation import Count, checked

EPOCHS = 5  # of "again"
STEPS, BATCH, LENGTH = 8000, 16, 128
HELD_OUT = 256  # rows of held-out text
OPENING_STEPS = 200  # up to the first measurement of a run
OPENING = STUDIES / "experts_on_text_opening.safetensors"


@dataclass(frozen=True)
class Texts:
    """once and again: rows (n, 128) to train on; exam: held-out batches; seen: batches of rows that
    "again" trains on."""

    once: torch.Tensor
    again: torch.Tensor
    exam: list[dict]
    seen: list[dict]

    @classmethod
    @checked
    def load(cls, steps: Count = STEPS, limit: Count | None = None) -> "Texts":
        """The texts of the study; `limit` documents of each corpus, to try it out."""
        from datasets import concatenate_datasets

        parts = [load_corpus(name, limit=limit) for name in ("mixture", "package_docs")]
        tokenizer = load_tokenizer("mixture-small")
        written = repeat_written(parts[0]["train"])
        practice = concatenate_datasets([written, parts[1]["train"]])
        held_out = concatenate_datasets([part["heldout"] for part in parts])
        rows, exam = (encode_corpus(d, tokenizer, LENGTH).input_ids for d in (practice, held_out))
        draw = torch.Generator().manual_seed(0)
        exam = exam[torch.randperm(len(exam), generator=draw)[:HELD_OUT]]
        again = rows[torch.randperm(len(rows), generator=draw)[: max(1, steps * BATCH // EPOCHS)]]
        batches = (evaluation_batches(some, 32) for some in (exam, again[:HELD_OUT]))
        return cls(rows, again, *batches)


@dataclass(frozen=True)
class Opening:
    """What the runs "once" of seed 0 read first, so that a notebook can make their beginning again
    without half a minute of reading: a source of batches for `train`, and the held-out text.

    rows   (OPENING_STEPS * BATCH, 128), in the order of the run
    exam   held-out batches, all of them
    """

    rows: torch.Tensor
    exam: list[dict]

    @classmethod
    @checked
    def load(cls, path: Path = OPENING) -> "Opening":
        """FileNotFoundError or ValueError naming the file unless `write_opening` wrote it."""
        found, _ = read_tensors(path)
        shapes = {"rows": (OPENING_STEPS * BATCH, LENGTH), "exam": (HELD_OUT, LENGTH)}
        sizes = {name: tuple(part.shape) for name, part in found.items()}
        require(sizes == shapes, str(path), sizes, str(shapes))
        rows, exam = (found[name].long() for name in shapes)
        return cls(rows, evaluation_batches(exam, 32))

    def at(self, step: int) -> dict[str, torch.Tensor]:
        """The batch of one step, counted from 0, as `Batches` gives it."""
        require(0 <= step < OPENING_STEPS, "step", step, f"less than {OPENING_STEPS}")
        rows = self.rows[step * BATCH : (step + 1) * BATCH]
        return {"input_ids": rows, "labels": rows.clone()}


@checked
def write_opening(texts: Texts, path: Path = OPENING) -> None:
    """Store the first batches of seed 0 and the held-out rows, two bytes a token."""
    batches = Batches(texts.once, BATCH, seed=0)
    rows = torch.cat([batches.at(step)["input_ids"] for step in range(OPENING_STEPS)])
    exam = torch.cat([batch["input_ids"] for batch in texts.exam])
    write_tensors(path, {"rows": rows.to(torch.int16), "exam": exam.to(torch.int16)})


def main(arguments: list[str] | None = None) -> None:
    parser_of("rows_of_text", __doc__).parse_args(arguments)
    write_opening(Texts.load())


if __name__ == "__main__":
    sys.exit(run_command(main))

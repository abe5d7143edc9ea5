"""The texts of the compression study: held-out rows of every domain, and rows to calibrate on."""

import torch
from torch import Tensor

from moe_lib.devices import device
from moe_lib.text import encode_corpus, load_corpus
from moe_lib.validation import Count, checked

LENGTH = 128  # tokens of a row
ROWS, CALIBRATION = 6, 4  # held-out rows of every domain; rows of training text of each


class Texts:
    """rows {domain: (ROWS, LENGTH)} of held-out text; calibration (domains · CALIBRATION,
    LENGTH) of training text: equally much of every domain, as in the rows. documents: take rows
    from so many of a domain, which is sooner encoded; None: from all."""

    @checked
    def __init__(
        self,
        tokenizer,
        rows: Count = ROWS,
        calibration: Count = CALIBRATION,
        documents: Count | None = None,
    ):
        corpus, draw = load_corpus("mixture"), torch.Generator().manual_seed(0)

        def some(documents, n: int) -> Tensor:
            packed = encode_corpus(documents, tokenizer, LENGTH).input_ids
            return packed[torch.randperm(len(packed), generator=draw)[:n]].to(device())

        def parts(split: str, n: int) -> dict[str, Tensor]:
            names = corpus[split]["domain"]
            found = {}
            for one in sorted(set(names)):
                places = [place for place, name in enumerate(names) if name == one][:documents]
                found[one] = some(corpus[split].select(places), n)
            return found

        self.rows = parts("heldout", rows)
        self.calibration = torch.cat(list(parts("train", calibration).values()))
        self.all = torch.cat(list(self.rows.values()))

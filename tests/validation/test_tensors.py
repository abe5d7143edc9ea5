"""`require_tensor`: the same words for tensors."""

import numpy as np
import pytest
import torch

from moe_lib.validation import require_tensor

IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (IDS, dict(shape=("batch", "sequence"), dtype="whole", low=0, high=6, device="cpu")),
        (IDS, dict(shape=(2, "sequence"), dtype=torch.int64)),
        (IDS.bool(), dict(shape=("...", 3), dtype=bool, high=1)),
        (IDS.float(), dict(shape=("...",), dtype="floating", finite=True)),
        (torch.eye(3), dict(shape=("E", "E"))),
        (torch.zeros(0, 3), dict(low=0, finite=True)),
        (torch.zeros(3, device="meta"), dict(shape=("n",), low=1)),
        (IDS.to(torch.uint8), dict(dtype=(bool, "whole"))),
        (torch.nn.Parameter(torch.ones(2)), dict(dtype="floating")),
    ],
)
def test_what_fits_passes(value, wanted):
    require_tensor("x", value, **wanted)


@pytest.mark.parametrize(
    ("value", "wanted", "error", "words"),
    [
        ([[1]], {}, TypeError, r"x: got \[\[1\]\]; wants a tensor$"),
        (np.ones(2), {}, TypeError, "x: got ndarray of shape"),
        (None, dict(dtype="whole"), TypeError, "x: got None; wants a tensor of whole numbers"),
        (IDS.float(), dict(dtype="whole"), TypeError, "x: got torch.float32; wants"),
        (IDS.bool(), dict(dtype="whole"), TypeError, "x: got torch.bool; wants"),
        (IDS, dict(dtype="floating"), TypeError, "wants a tensor of floating-point numbers"),
        (IDS, dict(dtype=(bool, torch.float16)), TypeError, "torch.bool or torch.float16"),
        (IDS, dict(shape=("n",)), ValueError, r"x: got \(2, 3\); wants shape \(n,\)"),
        (IDS, dict(shape=("n", 4)), ValueError, r"x: got \(2, 3\); wants shape \(n, 4\)"),
        (IDS, dict(shape=("E", "E")), ValueError, r"wants shape \(E, E\)"),
        (IDS, dict(shape=("...", 2, "a", 3)), ValueError, r"wants shape \(\.\.\., 2, a, 3\)"),
        (IDS, dict(low=2), ValueError, "x: got 'an entry of 1'; wants entries of at least 2"),
        (IDS, dict(low=0, high=5), ValueError, "x: got 'an entry of 6'; wants entries from 0 to 5"),
        (IDS / 0, dict(finite=True), ValueError, "6 entries that are NaN or infinite"),
        (IDS * torch.nan, dict(high=3), ValueError, "an entry of nan"),
        (IDS, dict(device="meta"), ValueError, "a tensor on cpu"),
    ],
)
def test_what_does_not_fit_is_named(value, wanted, error, words):
    with pytest.raises(error, match=words):
        require_tensor("x", value, **wanted)

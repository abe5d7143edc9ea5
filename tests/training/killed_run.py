"""Run by test_resume in a process of its own, to be killed: trains and saves every third step."""

import sys

from moe_lib import train
from tests.training.small import RandomBatches, make_model

if __name__ == "__main__":
    train(
        make_model(),
        RandomBatches(),
        steps=int(sys.argv[2]),
        folder=sys.argv[1],
        save_every=3,
        progress=False,
    )

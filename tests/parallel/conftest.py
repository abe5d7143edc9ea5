"""One launch of two processes for most tests of this folder."""

import pytest

from moe_lib.interop import save_transformers
from moe_lib.parallel import launch
from tests.parallel.cases import CASES
from tests.parallel.workers import everything
from tests.training.small import make_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="session")
def on_two(folder):
    """What `everything` gave on each rank."""
    latent = dict(kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8)
    official = make_model(attention="mla", tie_word_embeddings=False, **latent)
    save_transformers(official, folder / "official")
    given = dict(cases=CASES, folder=str(folder), official=str(folder / "official"))
    return [one.result for one in launch(everything, 2, given, timeout=400)]

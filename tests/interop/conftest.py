import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here may reach for the network


@pytest.fixture(scope="module", autouse=True)
def tiny_tensors(one_thread):
    """All of these tests."""

"""Fixtures for the tests of fine-tuning."""

import pytest

from moe_lib.text import load_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer("mixture")

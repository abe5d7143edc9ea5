"""A file of a trace that was damaged in any way is refused by an error that names it."""

import json
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moe_lib import trace_routing
from moe_lib.tracing import load_trace
from tests.properties.settings import few
from tests.wrong_input.models import IDS, small


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The path of a trace, and its bytes."""
    path = trace_routing(small(), IDS).save(tmp_path_factory.mktemp("trace") / "trace.safetensors")
    return path, path.read_bytes()


def refused_or_read(path, raw: bytes) -> None:
    path.write_bytes(raw)
    try:
        trace = load_trace(path)
    except (ValueError, OSError) as error:
        assert str(path) in str(error), error
        assert type(error) in (ValueError, FileNotFoundError), repr(error)
    else:
        assert torch.is_tensor(trace.input_ids)


@few
@given(st.binary(max_size=80))
def test_any_bytes(saved, raw):
    refused_or_read(saved[0], raw)


@few
@given(st.integers(0, 10**6))
def test_a_cut_file(saved, length):
    refused_or_read(saved[0], saved[1][: length % len(saved[1])])


@few
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_one_other_byte(saved, place, change):
    raw = bytearray(saved[1])
    raw[place % len(raw)] ^= change
    refused_or_read(saved[0], bytes(raw))


values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers())


@few
@given(st.data())
def test_another_value_in_the_header(saved, data):
    size = struct.unpack("<Q", saved[1][:8])[0]
    header = json.loads(saved[1][8 : 8 + size])
    name = data.draw(st.sampled_from(sorted(header)))
    field = data.draw(st.sampled_from(sorted(header[name])))
    value = data.draw(values)
    header[name][field] = json.dumps(value) if name == "__metadata__" else value
    text = json.dumps(header).encode()
    refused_or_read(saved[0], struct.pack("<Q", len(text)) + text + saved[1][8 + size :])

"""Where the benchmarks measure: what --device says, else the course's device."""

import argparse

import pytest
import torch

from benchmarks import generation, monitor, timing
from moe_lib.devices import VARIABLE


def chosen(*arguments):
    parser = argparse.ArgumentParser()
    timing.add_device(parser)
    return timing.chosen_devices(parser.parse_args(arguments))


def test_the_courses_device_unless_told(monkeypatch):
    monkeypatch.setattr("moe_lib.device", lambda: torch.device("meta"))
    assert chosen() == ["meta"]
    assert chosen("--device", "cpu") == ["cpu"]
    assert chosen("--device", "cpu", "--device", "meta") == ["cpu", "meta"]


def test_course_device_is_read(monkeypatch):
    monkeypatch.setenv(VARIABLE, "nowhere")
    with pytest.raises(ValueError, match="COURSE_DEVICE: got 'nowhere'"):
        chosen()


def test_a_device_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        chosen("--device", "nowhere")
    assert "nowhere" in capsys.readouterr().err


def test_models_and_texts_are_put_there(monkeypatch):
    """On "meta" nothing can be computed, but everything has to be there first."""
    model = generation.make_models(generation.QUICK["mini-v2"])[generation.OURS].to("meta")
    asked = {}
    monkeypatch.setattr(generation, "make_writers", lambda models, ids, new: asked.update(ids=ids))
    with pytest.raises(AttributeError):
        generation.measure("tiny", {generation.OURS: model}, 1, 4, 2, 0.0)
    assert asked["ids"].device.type == "meta"
    monkeypatch.setattr(monitor, "device", lambda: torch.device("meta"))
    trained, _ = monitor.make_step(16, 4, 1, 1, 4)
    assert {parameter.device.type for parameter in trained.parameters()} == {"meta"}

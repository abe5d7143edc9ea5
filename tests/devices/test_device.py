"""moe_lib.device(): the GPU if there is one, and what COURSE_DEVICE says."""

import pytest
import torch

import moe_lib
from moe_lib import devices


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("COURSE_DEVICE", raising=False)


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine that says it has two; nothing is put on them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda")
    )
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)


@pytest.mark.parametrize("said", [None, "", "  "])
def test_without_a_word_the_gpu_if_there_is_one(monkeypatch, said, request):
    if said is not None:
        monkeypatch.setenv("COURSE_DEVICE", said)
    request.getfixturevalue("no_gpu")
    assert moe_lib.device() == torch.device("cpu")
    request.getfixturevalue("two_gpus")
    assert moe_lib.device() == torch.device("cuda")


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1", " cuda:1 "])
def test_course_device_overrides(monkeypatch, two_gpus, name):
    monkeypatch.setenv("COURSE_DEVICE", name)
    assert moe_lib.device() == torch.device(name.strip())


@pytest.mark.parametrize("name", ["gpu", "cuda:2", "meta", "CPU", "cuda:", "0"])
def test_a_device_that_is_not_there_is_refused_by_name(monkeypatch, two_gpus, name):
    monkeypatch.setenv("COURSE_DEVICE", name)
    with pytest.raises(
        ValueError, match="COURSE_DEVICE: got .*wants one of cpu, cuda, cuda:0, cuda:1"
    ) as caught:
        moe_lib.device()
    assert repr(name) in str(caught.value)


def test_a_gpu_asked_for_on_a_machine_without_one(monkeypatch, no_gpu):
    monkeypatch.setenv("COURSE_DEVICE", "cuda")
    with pytest.raises(ValueError, match="COURSE_DEVICE: got 'cuda'; wants one of cpu, or nothing"):
        moe_lib.device()


def test_what_this_machine_lists_can_be_used(monkeypatch):
    for name in devices._devices():
        monkeypatch.setenv("COURSE_DEVICE", name)
        assert torch.ones(2, device=moe_lib.device()).sum().item() == 2

"""Chapter 17's two processes, without starting them: what one process can check."""

import pytest
import torch

from moe_course.studies import two_processes as two

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    return two.masked_batches(tmp_path_factory.mktemp("rows"))


def test_rows_of_a_batch_hide_different_numbers_of_tokens(batches):
    halves = [(batches.at(0)["labels"][rows] != -100).sum() for rows in (slice(4), slice(4, 8))]
    assert batches.at(0)["input_ids"].shape == (two.BATCH, two.LENGTH)
    assert halves[0] != halves[1] and min(halves) > 0


def test_alone_the_two_ways_to_put_gradients_together_are_one(batches, monkeypatch):
    """With one process that reads all rows there is nothing to weigh."""
    monkeypatch.setattr(two, "RANKS", 1)
    monkeypatch.setattr(two.dist, "all_reduce", lambda tensor: None)
    found = two.gradients(batches)
    model = two.small_model()
    for step in range(two.BATCHES):
        whole = two.flat_gradient(model, batches.at(step))
        for kind in ("weighted", "plain"):
            torch.testing.assert_close(found[kind][step], whole, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("way", two.WAYS)
def test_every_way_trains(way, batches):
    start = two.flat(two.small_model(**two.WAYS[way]))
    moved = (two.flat(two.trained(way, batches, steps=2)) - start).abs().max()
    assert 1e-4 < moved < 0.1


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="folder: got .*nowhere.*wants a folder that is there"):
        two.run(tmp_path / "nowhere")

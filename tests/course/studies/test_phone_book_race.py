"""The small race of the widget: the same steps as `train`, equal work, an end when asked."""

import pytest
import torch

from moe_course.studies import phone_book_race as small
from moe_course.studies.fact_books import PhoneBook
from moe_course.studies.phone_book import book_config, even_experts
from moe_lib import train
from moe_lib.training.live import fresh_model


def test_a_step_at_a_time_is_what_train_does():
    book = PhoneBook(256, batch_size=128)
    config = book_config(even_experts(4), small.HIDDEN)
    plain, stepped = fresh_model(config, 3), fresh_model(config, 3)
    options = dict(learning_rate=small.LEARNING_RATE, weight_decay=0.0, progress=False)
    train(plain, book, steps=7, **options)
    assert list(small.training(stepped, book, 7)) == list(range(1, 8))
    expected = plain.state_dict()
    for name, weight in stepped.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize(("experts", "chosen"), [(2, 2), (8, 1), (8, 4)])
def test_both_models_do_equal_work_and_tell_after_every_turn(experts, chosen):
    told = []
    last = small.race(1024, experts, chosen, lambda sides: told.append(sides), steps=15)
    assert [sides[0].step for sides in told] == [10, 15] and last == told[-1]
    dense, other = last
    assert (dense.name, other.name) == ("dense", f"{experts} experts")
    assert other.active - dense.active == experts * small.HIDDEN  # the router's rows, no more
    assert len(dense.known) == len(other.known) == 1024
    assert dense.share > 4 / 64 and 0 <= dense.bits_per_parameter < 2


def test_a_report_that_answers_true_ends_it():
    told = []
    small.race(1024, 2, 2, lambda sides: told.append(sides) or True, steps=100)
    assert len(told) == 1

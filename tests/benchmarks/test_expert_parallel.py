"""The table of experts on several processes, at its smallest size: one launch of two."""

import re

import pytest

from benchmarks import expert_parallel

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_table_compares_what_it_says(capsys):
    expert_parallel.main(["--cases", "small", "--rounds", "1"])
    said = capsys.readouterr().out
    kinds = (expert_parallel.ONE, expert_parallel.OURS, expert_parallel.LIMITED)
    sent = {}
    for kind in (*kinds, expert_parallel.THEIRS):
        row = re.search(rf"^{kind} +([\d.]+) +([\d.]+) +(\S+)$", said, re.M)
        sent[kind] = float(row[2])
        assert float(row[1]) > 0 and float(row[3]) < 1e-5
    # One row a device: fewer than one a choice, and fewer still with one device a token.
    assert sent[expert_parallel.ONE] == 0 < sent[expert_parallel.LIMITED]
    assert sent[expert_parallel.LIMITED] < sent[expert_parallel.OURS]
    assert sent[expert_parallel.OURS] < sent[expert_parallel.THEIRS]
    assert said.count("KiB") >= 6 and "published: 2,664" in said


def test_wrong_numbers_are_refused(capsys):
    for wrong in (["--ranks", "3"], ["--ranks", "1"], ["--rounds", "0"], ["--cases", "huge"]):
        with pytest.raises(SystemExit):
            expert_parallel.main(wrong)
        assert wrong[0] in capsys.readouterr().err

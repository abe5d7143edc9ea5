"""The table of ways to serve, at its smallest size."""

import re

import pytest

from benchmarks import serving

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_table_compares_what_it_says(capsys):
    serving.main(["--requests", "10", "--rates", "0.5", "--running", "4", "--rounds", "1"])
    said = capsys.readouterr().out
    rows = {}
    for name in (serving.ONE, serving.PADDED, serving.PACKED, serving.CONTINUOUS):
        row = re.search(rf"^{name} +([\d. ,%-]+)$", said, re.M)
        rows[name] = [float(n.replace(",", "").rstrip("%")) for n in row[1].split()]
        assert len(rows[name]) == len(serving.HEADS)
    per_pass, waste = [{name: row[i] for name, row in rows.items()} for i in (2, 3)]
    assert per_pass[serving.ONE] == 1 and rows[serving.ONE][1] == 1
    assert waste[serving.ONE] == waste[serving.CONTINUOUS] == 0 < waste[serving.PADDED]
    assert per_pass[serving.PADDED] < per_pass[serving.CONTINUOUS]
    assert re.search(r"^generate +\d", said, re.M)


def test_wrong_numbers_are_refused(capsys):
    for wrong in (["--requests", "0"], ["--running", "0"], ["--rates", "0"], ["--rounds", "x"]):
        with pytest.raises(SystemExit):
            serving.main(wrong)
        assert wrong[0] in capsys.readouterr().err

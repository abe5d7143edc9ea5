"""The course's own commands say what is wrong in one line, without a traceback."""

import pytest

from moe_course.__main__ import main as course
from moe_course.article.ledger.page import main as ledger_page
from moe_course.article.ledger.quotes import main as ledger_quotes
from moe_course.checkpoints.rate_trial import main as rate_trial
from moe_course.checkpoints.recipes import main as recipes
from moe_course.data_tools.data_card import main as data_card
from moe_course.data_tools.measure_tasks import main as measure_tasks
from moe_course.data_tools.quality import main as quality
from moe_course.studies import (
    encoder_study,
    fine_tuning_study,
    grain,
    phone_book,
    pretraining_study,
)
from moe_lib.console import BROKEN_PIPE, run_command
from moe_lib.paths import CHECKPOINTS
from moe_lib.text.tokenizer_training import main as tokenizer

CARD = CHECKPOINTS / "mini-v2" / "config.json"


@pytest.mark.parametrize(
    "command, arguments, words",
    [
        (course, [], "verb"),
        (course, ["run", "--cell-timeout", "0"], "--cell-timeout: got '0'; wants a whole number"),
        (course, ["check", "77"], "got '77'"),
        (course, ["to-script", "no.ipynb", "no.py"], "no.ipynb: no such file"),
        (course, ["from-script", "no.py", "no.ipynb"], "no.py"),
        (quality, [], "FOLDER"),
        (quality, ["no such folder"], "no such folder: has no folder with a documents.jsonl"),
        (recipes, ["--steps", "-1"], "--steps: got '-1'; wants a whole number"),
        (recipes, ["mini-v2", "mini-v9"], "NAME: got 'mini-v9'"),
        (rate_trial, ["mini-v9", "causal", "--scratch", "x"], "mini-v9"),
        (tokenizer, ["no such tokenizer"], "no such tokenizer"),
        (recipes, ["mini-causal", "--steps", "2", "--out", __file__], "--out: got"),
        (recipes, ["mini-causal", "--scratch", f"{__file__}/x"], "--scratch: got"),
        (recipes, ["--steps", "2", "--out", "x"], "NAME: got []; wants one of them with --out"),
        (rate_trial, ["mini-v2", "moe", "--scratch", __file__], "--scratch: got"),
        (data_card, ["extra"], "unrecognized arguments: extra"),
        (ledger_page, ["extra"], "unrecognized arguments: extra"),
        (ledger_quotes, ["no such article"], "no such article: no such file"),
        (measure_tasks, ["nothing"], "NAME: got 'nothing'; wants one of catalogue"),
        (fine_tuning_study.main, ["--cases", "nope"], "--cases: got 'nope'; wants one of MoE"),
        (encoder_study.main, ["--tasks", "nope"], "argument --tasks: invalid choice"),
        (encoder_study.main, ["--seeds", "0"], "--seeds: got '0'; wants a whole number"),
        (phone_book.main, ["--seeds", "0"], "--seeds: got '0'; wants a whole number"),
        (phone_book.main, ["more"], "unrecognized arguments: more"),
        (phone_book.main, ["--out", __file__], "wants a new file, or a study"),
        (grain.main, ["--out", "."], "is a folder; wants the name of a file"),
        (grain.main, ["--out", str(CARD)], "is no study; wants a new file, or a study"),
        (pretraining_study.main, ["--out", __file__], "wants a new file, or a study"),
    ],
)
def test_one_line(command, arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = run_command(lambda: command(arguments))
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr()
    assert code in (1, 2) and words in said.err
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error, code, said",
    [
        (ValueError("two\n  lines"), 1, "error: two lines\n"),
        (FileNotFoundError(2, "No such file or directory", "x.txt"), 1, "error: x.txt: No such"),
        (ImportError("no module of that name"), 1, "error: no module of that name\n"),
        (ValueError(), 1, "error: ValueError\n"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
    ],
)
def test_what_a_command_raises(error, code, said, capsys):
    def command():
        raise error

    assert run_command(command) == code
    assert capsys.readouterr().err.startswith(said)


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


def test_exit_codes_are_passed_on():
    assert run_command(lambda: None) == 0 and run_command(lambda: 3) == 3
    assert BROKEN_PIPE == 128 + 13

"""What the studies share: kept runs, command lines, and commands that exist wherever one is
written."""

import json
import re
from importlib import import_module
from importlib.util import find_spec

import pytest

from moe_course.studies.running import STUDIES, Report, about, kept_run
from moe_lib.paths import REPOSITORY

COMMAND = re.compile(r"python -m (moe_(?:lib|course)[\w.]*)(?![\w.{])")
WITH_COMMAND = [
    "expert_designs",
    "fine_tuning_study",
    "generation_study",
    "overfitting_study",
    "parameter_efficient_study",
    "pretraining_study",
    "upcycling_study",
]


def test_a_run_is_kept_for_its_key_and_made_again_for_another(tmp_path):
    made = []

    def run():
        made.append(1)
        return {"loss": 0.123456, "curve": [1.00001]}

    path, key = tmp_path / "runs" / "a.json", {"seed": 0, "radii": (1, 2)}
    kept = {"loss": 0.1235, "curve": [1.0]}
    assert kept_run(path, key, run) == kept_run(path, key, run) == kept and len(made) == 1
    kept_run(path, {**key, "seed": 1}, run)
    assert len(made) == 2
    kept_run(None, key, run)
    assert len(made) == 3
    path.write_text('{"key": ', encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.json: not valid JSON"):
        kept_run(path, key, run)


def test_a_report_says_once_which_run_has_begun(capsys):
    report = Report()
    for run, n_train in ((0, None), (0, None), (1, 100)):
        report({"run": run, "runs": 2, "case": "LoRA", "n_train": n_train, "seed": 5})
    assert capsys.readouterr().out.splitlines() == [
        "run 1 of 2: LoRA, seed 5",
        "run 2 of 2: LoRA, 100 labels, seed 5",
    ]


@pytest.mark.parametrize("name", WITH_COMMAND)
def test_every_study_says_what_it_is_and_refuses_what_it_does_not_know(name, capsys):
    study = import_module(f"moe_course.studies.{name}")
    for arguments, code in ((["--help"], 0), (["--no-such-thing"], 2)):
        with pytest.raises(SystemExit) as left:
            study.main(arguments)
        assert left.value.code == code
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m moe_course.studies.{name} ")
    assert study.__doc__.split()[0] in shown


def test_what_a_study_says_of_itself():
    said = about("upcycling_study", "--steps 3", steps=3)
    assert said["command"] == "python -m moe_course.studies.upcycling_study --steps 3"
    assert set(said) == {"command", "steps", "date", "python", "torch"} and "+" not in said["torch"]


def test_every_command_written_in_the_studies_and_cards_exists():
    found = {}
    for path in sorted(STUDIES.glob("*.json")):
        text = path.read_text(encoding="utf-8")
        assert isinstance(json.loads(text), dict)
        found[path] = COMMAND.findall(text)
        assert found[path], path
    for path in [REPOSITORY / "README.md", *REPOSITORY.glob("data/**/*.md")]:
        found[path] = COMMAND.findall(path.read_text(encoding="utf-8"))
    for path in sorted(REPOSITORY.glob("moe_course/**/*.py")):
        found[path] = COMMAND.findall(path.read_text(encoding="utf-8"))
    for path, modules in found.items():
        for module in {module for module in modules if not module.endswith(".")}:
            where = find_spec(module)
            assert where is not None, (path, module)
            if where.submodule_search_locations is not None:
                where = find_spec(f"{module}.__main__")
            assert where is not None, (path, module)
            main = 'if __name__ == "__main__":'
            assert where.name.endswith("__main__") or main in open(where.origin).read(), module

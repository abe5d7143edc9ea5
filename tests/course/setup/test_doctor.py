"""The doctor says what is there, and what to do about what is not."""

import subprocess
import sys
from pathlib import Path

from moe_course import installation as doctor
from moe_course.installation import Finding, findings, report
from moe_course.setup import doctor as course_doctor

ROOT = Path(__file__).resolve().parents[3]


def test_findings_name_the_torch_that_is_installed():
    import torch

    found = {finding.name: finding for finding in findings()}
    assert found["torch"].ok and found["torch"].value.startswith(torch.__version__)
    assert list(found) == list(doctor.LOOKS)


def test_a_look_that_fails_is_a_finding_and_not_a_crash(monkeypatch):
    def broken():
        raise OSError("no such library")

    monkeypatch.setitem(doctor.LOOKS, "torch", broken)
    (finding,) = [finding for finding in findings() if finding.name == "torch"]
    assert not finding.ok and "no such library" in finding.value and finding.advice


def test_report_puts_advice_below_the_problem():
    lines = report([Finding("a", "fine"), Finding("bb", "gone", False, "get it")]).splitlines()
    assert lines[0].split() == ["ok", "a", "fine"]
    assert lines[1].split() == ["problem", "bb", "gone"]
    assert lines[2].strip() == "-> get it"
    found = [Finding("a", "fine", where="/some/where")]
    assert "/some/where" in report(found) and "/some/where" not in report(found, paths=False)


def test_a_python_without_its_sources_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.sysconfig, "get_path", lambda name: str(tmp_path))
    finding = doctor.LOOKS["Python's sources"]()
    assert not finding.ok and finding.advice


def test_importing_the_doctor_imports_nothing_heavy():
    code = (
        "import sys, moe_course.installation; print([m for m in ('torch', 'numpy', 'psutil') if "
        "m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_without_an_environment_the_doctor_says_how_to_get_one(root, capsys):
    assert course_doctor.run_doctor(root) == 1
    said = capsys.readouterr().out
    assert "not made yet" in said and "course.py lab" in said and "browser" in said

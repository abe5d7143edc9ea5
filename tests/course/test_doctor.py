"""The doctor says what is there, and what to do about what is not."""

import shutil
import subprocess
import sys
from pathlib import Path

from moe_course import doctor
from moe_course.doctor import Finding, findings, report

ROOT = Path(__file__).resolve().parents[2]


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
        "import sys, moe_course.doctor; print([m for m in ('torch', 'numpy', 'psutil') if "
        "m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_without_an_environment_the_doctor_says_how_to_get_one(tmp_path, capsys):
    for name in (
        "requirements.txt",
        "constraints.txt",
        "pyproject.toml",
        doctor.environment.SETTINGS,
    ):
        source, target = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    assert doctor.main([], tmp_path) == 1
    said = capsys.readouterr().out
    assert "not made yet" in said and "course.py lab" in said and "browser" in said
    assert "not installed yet" in said


def test_a_python_without_ensurepip_is_told_which_package_to_install(monkeypatch, tmp_path):
    real = doctor.importlib.util.find_spec
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else real(name)
    )
    finding = doctor.SYSTEM["this Python"](tmp_path)
    assert not finding.ok and "python3-venv" in finding.advice


def test_the_doctor_takes_no_arguments(capsys):
    assert doctor.main(["quickly"]) == 2
    assert "quickly" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_trouble():
    command = [sys.executable, "-m", "moe_course.doctor"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait() == 141 and said == ""

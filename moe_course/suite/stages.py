"""`course.py test`: style, unit tests, notebooks and browser tests, one after the other, with a
summary."""

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from moe_course.chapters import CHAPTERS
from moe_course.setup.folders import ROOT, cleaned_environ
from moe_course.suite.reports import Counts, missing_notebooks, read_report

WORKERS = "2"
CELL_TIMEOUT_SECONDS = 300
CLOSING_LINE = re.compile(r"^=+ .*\b(passed|failed|error|errors|skipped|no tests ran)\b.* =+$")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Result:
    """How one stage went."""

    name: str
    seconds: float
    counts: Counts
    closing_lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def environ_for_tests(environ: dict[str, str]) -> dict[str, str]:
    """Environment variables of the tests: offline, and one thread per worker so that workers do not
    fight."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    cleaned = cleaned_environ(environ)
    # Notebook kernels inherit this one, and then draw no pictures.
    cleaned.pop("MPLBACKEND", None)
    return cleaned | one_thread | offline | {"TOKENIZERS_PARALLELISM": "false"}


def pytest_stages(reports: Path) -> list[tuple[str, list[str]]]:
    """The pytest stages: name and arguments. Each writes `reports`/<name>.xml."""
    stages = [
        ("unit", ["tests", "--ignore=tests/browser", "-rs", "-n", WORKERS]),
        (
            "notebooks",
            # Outputs differ between machines: only cells marked NBVAL_CHECK_OUTPUT are compared.
            ["notebooks", "--nbval-lax", "--nbval-current-env", "-n", WORKERS, "--dist", "loadfile"]
            + [f"--nbval-cell-timeout={CELL_TIMEOUT_SECONDS}"],
        ),
        ("browser", ["tests/browser"]),
    ]
    return [(name, [*arguments, f"--junitxml={reports / name}.xml"]) for name, arguments in stages]


def run_stages(root: Path = ROOT) -> int:
    """Run everything, print a summary, return 0 if all went well and 1 otherwise."""
    environ = environ_for_tests(dict(os.environ))
    results = [_run_style(root, environ)]
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in pytest_stages(Path(folder)):
            results.append(_run_pytest_stage(name, arguments, root, environ, Path(folder)))
    return print_summary(results)


def fetch_models(root: Path = ROOT) -> None:
    """Fetch the real models that are not there yet. Without a network this says so, and the tests
    that read them are skipped by name."""
    _print_title("models")
    environ = cleaned_environ(dict(os.environ))
    subprocess.run([sys.executable, "-m", "moe_lib.fetching"], cwd=root, env=environ)


def run_pytest(arguments: list[str], root: Path = ROOT) -> int:
    """pytest with the reader's own arguments, and nothing else."""
    environ = environ_for_tests(dict(os.environ))
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=root, env=environ
    ).returncode


def _run_style(root: Path, environ: dict[str, str]) -> Result:
    _print_title("style")
    start, counts, problems = time.monotonic(), Counts(), []
    for arguments in (["check"], ["format", "--check"]):
        code = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "."], cwd=root, env=environ
        ).returncode
        counts += Counts(passed=int(code == 0), failed=int(code != 0))
        if code:
            problems.append(f"ruff {' '.join(arguments)} found something")
    return Result("style", time.monotonic() - start, counts, problems=problems)


def _run_pytest_stage(name, arguments, root: Path, environ, reports: Path) -> Result:
    _print_title(name)
    start = time.monotonic()
    code, closing_lines = stream([sys.executable, "-m", "pytest", *arguments], root, environ)
    report = read_report(reports / f"{name}.xml")
    counts, problems = report.counts, []
    if name == "notebooks":
        for notebook in missing_notebooks(report, listed_notebooks(), root / "notebooks"):
            problems.append(notebook)
            counts += Counts(failed=1)
    if code and not counts.failed:
        # No test failed and yet pytest did: it collected nothing, or was stopped.
        problems.append(f"pytest ended with code {code}")
        counts += Counts(failed=1)
    return Result(name, time.monotonic() - start, counts, closing_lines, problems)


def listed_notebooks() -> list[str]:
    """File names of the notebooks that the course says it has."""
    return [chapter.filename for chapter in CHAPTERS if chapter.ready]


def stream(command: list[str], root: Path, environ: dict[str, str]) -> tuple[int, list[str]]:
    """Run a command, print what it prints as it comes, and keep pytest's closing lines.

    Returns the exit code and the closing lines.
    """
    if sys.stdout.isatty():
        command = [*command, "--color=yes"]
    process = subprocess.Popen(
        command, cwd=root, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    tail = b""
    try:
        while chunk := os.read(process.stdout.fileno(), 8192):
            sys.stdout.write(chunk.decode("utf-8", errors="replace"))
            sys.stdout.flush()
            tail = (tail + chunk)[-20_000:]
        code = process.wait()
    except KeyboardInterrupt:
        # pytest got the same Ctrl-C and is tidying up: kernels, browsers.
        process.wait()
        raise
    lines = COLOUR.sub("", tail.decode("utf-8", errors="replace")).splitlines()
    return code, [line for line in lines if CLOSING_LINE.match(line)][-1:]


def _print_title(name: str) -> None:
    print(f"\n--- {name} ---", flush=True)


def print_summary(results: list[Result]) -> int:
    """Print time and outcome of each stage and the totals; the exit code is the return value."""
    print("\n--- summary ---")
    total = Counts()
    for result in results:
        total += result.counts
        print(f"{result.name:10s} {result.seconds:7.1f} s   {result.counts.in_words()}")
        for problem in result.problems:
            print(f"{'':22s}{problem}")
    print(f"{'together':10s} {sum(result.seconds for result in results):7.1f} s\n")
    for line in (line for result in results for line in result.closing_lines):
        print(line)
    print(f"{total.passed} passed, {total.failed} failed", flush=True)
    return 1 if total.failed else 0

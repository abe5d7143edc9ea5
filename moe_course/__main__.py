"""Keep the notebooks in order: python -m moe_course run, normalise, check, from-script or
to-script."""

import sys
from pathlib import Path

from moe_course.chapters import CHAPTERS, find_chapter
from moe_course.notebooks import contract, scripts
from moe_course.notebooks import normalise as form
from moe_lib.console import Parser, run_command, whole
from moe_lib.text_files import write_bytes

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def notebook_paths(names: list[str]) -> list[Path]:
    """Files meant by `names` (numbers, slugs, file names, paths); none: all that are ready."""
    if not names:
        return [NOTEBOOKS / chapter.filename for chapter in CHAPTERS if chapter.ready]
    return [
        Path(name) if Path(name).is_file() else NOTEBOOKS / find_chapter(name).filename
        for name in names
    ]


def run(names: list[str], cell_timeout: int) -> int:
    from moe_course.notebooks.execution import NotebookFailed, run_notebook

    failed = 0
    for path in notebook_paths(names):
        try:
            result = run_notebook(path, cell_timeout)
        except NotebookFailed as error:
            print(f"FAILED {error}", file=sys.stderr)
            failed += 1
        else:
            print(f"{path.name}: {result.cpu_seconds:.1f} s CPU, {result.wall_seconds:.1f} s wall")
    return failed


def normalise(names: list[str]) -> int:
    for path in notebook_paths(names):
        before = path.read_bytes()
        try:
            form.write(form.normalise(form.read(path)), path)
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
        print(f"{path.name}: {'unchanged' if path.read_bytes() == before else 'normalised'}")
    return 0


def check(names: list[str]) -> int:
    total = 0
    for path in notebook_paths(names):
        found = (
            contract.problems(form.read(path), path) if path.is_file() else ["the file is missing"]
        )
        print(f"{path.name}: {'in order' if not found else f'{len(found)} problems'}")
        print("".join(f"  - {problem}\n" for problem in found), end="")
        total += len(found)
    return total


def main(arguments: list[str] | None = None) -> int:
    return run_command(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    parser = Parser(prog="python -m moe_course", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("run", "execute from a fresh kernel, measure, normalise"),
        ("normalise", "rewrite in normal form"),
        ("check", "say what is not in order"),
    ):
        verbs.add_parser(verb, help=text).add_argument(
            "names", nargs="*", help="03, a slug or a file"
        )
    verbs.choices["run"].add_argument(
        "--cell-timeout", type=whole(1), default=300, metavar="SECONDS"
    )
    for verb, first, second in (
        ("from-script", "script", "notebook"),
        ("to-script", "notebook", "script"),
    ):
        sub = verbs.add_parser(verb, help=f"make a {second} of a {first}")
        sub.add_argument("source", type=Path)
        sub.add_argument("target", type=Path)
    given = parser.parse_args(arguments)
    if given.verb == "run":
        return min(1, run(given.names, given.cell_timeout))
    if given.verb == "normalise":
        return normalise(given.names)
    if given.verb == "check":
        return min(1, check(given.names))
    if given.verb == "from-script":
        scripts.convert_script(given.source, given.target)
    else:
        write_bytes(given.target, scripts.to_script(form.read(given.source)).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())

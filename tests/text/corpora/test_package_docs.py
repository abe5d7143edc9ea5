"""The docstrings of installed packages: a made-up installation, and the real one's check sum."""

import hashlib
import warnings
from importlib import metadata
from pathlib import Path

import pytest

from moe_lib.paths import REPOSITORY
from moe_lib.text import load_corpus
from moe_lib.text.corpora import package_docs as corpus

LONG = "A paragraph that is long enough to be looked up among those that were read before it."
OTHER = (
    "Another paragraph, as long as it has to be so that its docstring is worth reading at all, too."
)
UNIQUE = (
    "What only this function says, in more than eighty characters, so that it is kept: {}, {}, {}."
)


def install(site: Path, name: str, version: str, files: dict[str, str | bytes]) -> None:
    """What pip leaves behind: the files, and their list in RECORD."""
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(text.encode() if isinstance(text, str) else text)
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))


def function(name: str, *paragraphs: str) -> str:
    body = "\n\n    ".join(paragraphs)
    return f'def {name}():\n    """{body}\n    """\n'


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Two packages that no machine has; the second repeats a paragraph of the first."""
    folder = tmp_path / "site-packages"
    unique = [UNIQUE.format(n, n, n) for n in range(3)]
    install(
        folder,
        "fakealpha",
        "1.0",
        {
            "fakealpha/__init__.py": f'"""{LONG}"""\nraise SystemExit("never imported")\n',
            "fakealpha/work.py": function("one", "Parameters", unique[0])
            + "class Kind:\n    "
            + function("method", OTHER, LONG).replace("\n", "\n    "),
            "fakealpha/short.py": '"""Too short."""\n',
            "fakealpha/tests/test_work.py": function("test", unique[0] + "!"),
            "fakealpha/version.py": f'"""{OTHER} Built here."""\n',
            "fakealpha/newer.py": f'"""{OTHER} With syntax of Python 3.12."""\ntype X = int\n',
            "fakealpha/latin.py": f'"""{OTHER} caf\xe9"""\n'.encode("latin-1"),
            "fakealpha/data.txt": LONG,
        },
    )
    install(
        folder,
        "fakebeta",
        "2.0+cpu",
        {
            "fakebeta/copy.py": function("copied", LONG).replace("\n", "\r\n"),
            "fakebeta/own.py": function("own", LONG, "Parameters", unique[1]),
        },
    )
    (folder / "fakebeta" / "left_over.py").write_text(function("stray", unique[2]))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(corpus, "PACKAGES", {"fakealpha": "1.0", "fakebeta": "2.0"})
    monkeypatch.setenv("MOE_LIB_CACHE", str(tmp_path / "cache"))
    return folder


def test_docstrings_are_read_once_and_files_of_others_never(site):
    documents = list(corpus.package_documents())
    assert [(document["source"], document["text"]) for document in documents] == [
        ("fakealpha/__init__.py", LONG),
        ("fakealpha/work.py#one", f"Parameters\n\n{UNIQUE.format(0, 0, 0)}"),
        ("fakealpha/work.py#Kind.method", OTHER),
        ("fakebeta/own.py#own", f"Parameters\n\n{UNIQUE.format(1, 1, 1)}"),
    ]
    assert {document["key"] for document in documents} == {
        "fakealpha/__init__.py",
        "fakealpha/work.py",
        "fakebeta/own.py",
    }


def test_a_file_is_on_one_side_and_the_sides_are_those_of_its_hash(site, monkeypatch):
    files = {
        f"fakebeta/part_{n}.py": "".join(
            function(f"f{m}", UNIQUE.format(n, m, "gamma")) for m in range(3)
        )
        for n in range(40)
    }
    install(site, "fakegamma", "3.0", files)
    monkeypatch.setattr(corpus, "PACKAGES", {"fakegamma": "3.0"})
    with pytest.warns(UserWarning, match="another one"):
        rows = corpus.package_docs()
    monkeypatch.setattr(corpus, "CHECKSUM", corpus.checksum(rows))
    sides = load_corpus("package_docs")
    assert len(sides["train"]) + len(sides["heldout"]) == 120
    for side, held in (("train", False), ("heldout", True)):
        assert set(sides[side]["domain"]) == {"package_docs"}
        for source in sides[side]["source"]:
            name = source.partition("#")[0]
            # the split of every corpus, written out again: seven bytes of blake2b, a tenth held out
            digest = hashlib.blake2b(name.encode(), digest_size=7, person=b"split").digest()
            assert (int.from_bytes(digest, "big") / 2**56 < 0.1) is held
    assert len(load_corpus("package_docs", limit=7, held_out=0.0)["train"]) == 7


def test_the_pinned_text_says_nothing_and_is_cached(site, monkeypatch):
    with pytest.warns(UserWarning, match="pinned versions, but their text is another one"):
        first = corpus.package_docs()
    monkeypatch.setattr(corpus, "CHECKSUM", corpus.checksum(first))
    monkeypatch.setattr(corpus, "package_documents", lambda found: pytest.fail("not cached"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(corpus.package_docs()["text"]) == list(first["text"])


def test_another_version_warns_and_is_read_all_the_same(site, monkeypatch):
    monkeypatch.setattr(
        corpus, "PACKAGES", {"fakealpha": "1.1", "fakebeta": "2.0", "fakedelta": "1"}
    )
    with pytest.warns(
        UserWarning, match=r"fakealpha 1\.0 \(the course has 1\.1\); fakedelta is missing"
    ):
        assert len(corpus.package_docs()) == 4


def test_no_package_at_all_says_what_to_install(site, monkeypatch):
    monkeypatch.setattr(corpus, "PACKAGES", {"fakedelta": "1"})
    with pytest.raises(FileNotFoundError, match=r"none of its packages.*fakedelta.*requirements"):
        corpus.package_docs()


def test_the_check_sum_sees_texts_sources_and_their_order():
    rows = {"text": ["a", "b"], "source": ["x", "y"]}
    changed = [
        {"text": ["a", "c"], "source": ["x", "y"]},
        {"text": ["a", "b"], "source": ["x", "z"]},
        {"text": ["b", "a"], "source": ["y", "x"]},
    ]
    assert len({corpus.checksum(each) for each in (rows, *changed)}) == 4


def test_the_versions_are_those_of_constraints():
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().split("==") for line in lines if "==" in line)
    for name, version in corpus.PACKAGES.items():
        assert pins[name] == version, name


@pytest.mark.slow
def test_the_real_packages_have_the_stated_text():
    for name, pinned in corpus.PACKAGES.items():
        try:
            version = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            version = "none"
        if version != pinned:
            pytest.skip(f"{name} {version} is installed, the course pins {pinned}")
    rows = corpus.package_docs()
    assert corpus.checksum(rows) == corpus.CHECKSUM
    assert len(rows) > 50_000 and sum(map(len, rows["text"])) > 33_000_000
    paragraphs = [
        paragraph
        for text in rows["text"]
        for paragraph in text.split("\n\n")
        if len(paragraph) >= corpus.LONG_PARAGRAPH
    ]
    assert len(paragraphs) == len(set(paragraphs))

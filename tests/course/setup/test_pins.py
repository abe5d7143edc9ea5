"""The pinned lists hold together, and the course's JupyterLab settings are ones that JupyterLab
knows."""

import json
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = json.loads(
    (ROOT / "moe_course/setup/jupyterlab_settings/moe_course.json").read_text(encoding="utf-8")
)


def pins(name: str) -> dict[str, str]:
    """Package -> exact version, of one list."""
    found = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if not line or line.startswith(("#", "-", "./")):
            continue
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{name}: {line} is not pinned"
        found[canonicalize_name(requirement.name)] = specifier.version
    return found


def test_both_lists_name_the_same_versions():
    direct, everything = pins("requirements.txt"), pins("constraints.txt")
    assert direct["torch"] == "2.13.0"
    assert {name: everything.get(name) for name in direct} == direct


def test_no_cuda_package_is_pinned():
    assert not [
        name for name in pins("constraints.txt") if name.startswith(("nvidia", "triton", "cuda"))
    ]


def test_what_runs_here_is_what_is_pinned():
    from importlib.metadata import distributions

    pinned = pins("constraints.txt")
    installed = {
        canonicalize_name(d.metadata["Name"]): d.version.split("+")[0] for d in distributions()
    }
    differing = {
        name: (version, pinned[name])
        for name, version in installed.items()
        if pinned.get(name, version) != version
    }
    assert differing == {}


@pytest.mark.parametrize("plugin", SETTINGS)
def test_jupyterlab_knows_the_settings(plugin):
    package, name = plugin.split(":")
    share = Path(sys.prefix) / "share/jupyter"
    folders = (share / "lab/schemas", *share.glob("labextensions/*/*/schemas"))
    (schema,) = [
        path for folder in folders if (path := folder / package / f"{name}.json").is_file()
    ]
    properties = json.loads(schema.read_text(encoding="utf-8"))["properties"]
    assert set(SETTINGS[plugin]) <= set(properties)

"""A course folder in miniature, for set-up tests that install nothing."""

import pytest

FILES = {
    "requirements.txt": "torch==2.13.0\n",
    "constraints.txt": "numpy==2.4.6\n",
    "pyproject.toml": '[project]\nname = "x"\nversion = "1"\n[tool.ruff]\nline-length = 110\n',
    "moe_course/setup/jupyterlab_settings/moe_course.json": "{}\n",
    "moe_course/setup/jupyterlab_settings/pyproject.toml": "[project]\n",
}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "a course with spaces"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder

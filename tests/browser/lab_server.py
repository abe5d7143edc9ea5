"""A JupyterLab of our own for the browser tests: on this machine only, without the user's
settings."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OVERRIDES = ROOT / "moe_course" / "setup" / "jupyterlab_settings" / "moe_course.json"
START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LabServer:
    """Runs JupyterLab from this environment's Python.

    The notebooks are copied, so that a test that saves one changes nothing in the repository.

    Args:
        folder: an empty folder for the copy and for JupyterLab's own files.
        settings: more JupyterLab settings, plugin name -> values, on top of the course's own.
    """

    def __init__(self, folder: Path, settings: dict | None = None):
        self.folder = folder
        self.notebooks = folder / "course" / "notebooks"
        self.token = secrets.token_hex(16)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "jupyterlab.log"
        self._settings = settings or {}
        self._process: subprocess.Popen | None = None

    def start(self) -> "LabServer":
        """Start the server and wait until it answers. Raises RuntimeError with its log if it does
        not."""
        self.restore_notebooks()
        self._write_settings()
        new_group = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        with open(self.log, "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.folder / "course",
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **new_group,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(
                    "JupyterLab did not start:\n" + self.log.read_text(encoding="utf-8")[-3000:]
                )
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        """End the server, its kernels and whatever else is in its process group."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        if os.name == "nt":
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True)
            process.wait(timeout=20)
            return
        # On SIGTERM the server ends its kernels, which are process groups of their own.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)

    def restore_notebooks(self) -> None:
        """Put the repository's notebooks back as they are there."""
        shutil.rmtree(self.notebooks, ignore_errors=True)
        unwanted = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
        if (ROOT / "notebooks").is_dir():
            shutil.copytree(ROOT / "notebooks", self.notebooks, ignore=unwanted)
        self.notebooks.mkdir(parents=True, exist_ok=True)

    def end_kernels(self) -> None:
        """Close every notebook's session, so that the next test starts with none."""
        for session in self._ask("GET", "/api/sessions"):
            self._ask("DELETE", f"/api/sessions/{session['id']}")

    def _ask(self, method: str, path: str):
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def _answers(self) -> bool:
        try:
            return "started" in self._ask("GET", "/api/status")
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def _write_settings(self) -> None:
        settings = self.folder / "settings" / "overrides.d"
        settings.mkdir(parents=True)
        shutil.copy(OVERRIDES, settings)
        (settings.parent / "overrides.json").write_text(
            json.dumps(self._settings), encoding="utf-8"
        )

    def _command(self) -> list[str]:
        options = [
            "--no-browser",
            "--expose-app-in-browser",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.folder / 'course'}",
            f"--LabApp.app_settings_dir={self.folder / 'settings'}",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.append("--allow-root")
        return [sys.executable, "-m", "jupyterlab", *options]

    def _environ(self) -> dict[str, str]:
        own = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "user-settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        folders = {name: str(self.folder / "jupyter" / folder) for name, folder in own.items()}
        environ = (
            os.environ | folders | {"JUPYTER_TOKEN": self.token, "JUPYTER_PREFER_ENV_PATH": "1"}
        )
        # Kernels inherit this one, and then draw no pictures.
        environ.pop("MPLBACKEND", None)
        return environ

"""Execute a notebook from a fresh kernel, measure it, and write it in normal form."""

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from moe_course.notebooks import normalise as form
from moe_lib.validation import Count, Flag, PathLike, checked


class NotebookFailed(RuntimeError):
    """A notebook did not run to its end; the message names the notebook, the cell and the
    reason."""


@dataclass(frozen=True)
class Run:
    """What one execution took: processor seconds of the kernel process and its children, and wall
    seconds."""

    cpu_seconds: float
    wall_seconds: float


@checked
def run_notebook(path: PathLike, cell_timeout: Count = 300, write: Flag = True) -> Run:
    """Execute the notebook at `path` from a fresh kernel in its own folder.

    cell_timeout: seconds that one cell may take. write: store outputs and measured time in the
    file. Raises NotebookFailed, and leaves the file alone, if a cell fails or takes too long or the
    kernel dies.
    """
    path = Path(path).resolve()
    notebook = form.read(path)
    if not notebook.cells:
        raise NotebookFailed(f"{path.name}: has no cells")
    header = notebook.cells[0].source
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    run = _execute(notebook, path, cell_timeout)
    if write:
        form.record_cpu_seconds(notebook, run.cpu_seconds, header)
        form.write(form.normalise(notebook), path)
    return run


def _execute(notebook: nbformat.NotebookNode, path: Path, cell_timeout: int) -> Run:
    client = NotebookClient(
        notebook,
        timeout=cell_timeout,
        startup_timeout=120,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.km = _kernel_manager()
    start, index = time.monotonic(), 0
    try:
        with client.setup_kernel():
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
            cpu_seconds = _cpu_seconds(client.km.provisioner.pid)
    except CellTimeoutError as error:
        raise NotebookFailed(
            f"{path.name}, cell {index}: took longer than {cell_timeout} s"
        ) from error
    except DeadKernelError as error:
        raise NotebookFailed(
            f"{path.name}, cell {index}: the kernel died (out of memory?)"
        ) from error
    except CellExecutionError as error:
        trace = re.sub(r"\x1b\[[0-9;]*m", "", error.traceback)
        raise NotebookFailed(
            f"{path.name}, cell {index}: {error.ename}: {error.evalue}\n{trace}"
        ) from error
    return Run(cpu_seconds, time.monotonic() - start)


def _kernel_manager() -> AsyncKernelManager:
    # The kernel is this very Python, whatever kernels happen to be registered on the machine.
    manager = AsyncKernelManager(kernel_name="python3")
    manager.kernel_spec.argv = [
        sys.executable,
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
    ]
    return manager


def _cpu_seconds(pid: int) -> float:
    process = psutil.Process(pid)
    times = process.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        used = child.cpu_times()
        total += used.user + used.system
    return total

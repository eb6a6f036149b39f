"""A fresh process for a measurement: started, awaited, and its result read; nothing is pickled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import compress
from compress.errors import ArtefactError


def run_worker(
    job: dict[str, Any], about: str, directory: Path, module: str = "compress.runtime.worker"
) -> dict[str, Any]:
    """The result of `job` (see `module`) in a process of its own; `directory` takes the two files.

    Raises ArtefactError, with `about` in front and the process's last words, if it fails.
    """
    job_path, result_path = directory / "job.json", directory / "result.json"
    result_path.unlink(missing_ok=True)
    job_path.write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, "-m", module, str(job_path), str(result_path)]
    done = subprocess.run(command, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        last = lines[-1].strip() if lines else "it said nothing"
        if done.returncode == ArtefactError.exit_code:
            raise ArtefactError(last)
        raise ArtefactError(f"{about}: the measuring process ended with {_ending(done.returncode)}: {last}")
    return json.loads(result_path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _environment() -> dict[str, str]:
    """This process's, and the package found where it is found here."""
    source = str(Path(compress.__file__).parents[1])
    paths = [source, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _ending(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"

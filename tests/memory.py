"""Where `make test` puts what no test needs to find again: databases and brokers for the moment.

A database of a service is some 330 files. To make them on a disk costs a tenth of a second of CPU
in the kernel, in a folder of `/dev/shm` a tenth of that, and the suite makes hundreds. pytest's own
folders (`tmp_path`, with the logs of a platform that failed) stay where they are.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

SHARED = Path("/dev/shm")  # nosec B108  the folder in memory that every Linux has
PREFIX = "beam-tests-"
ROOM = 6 << 30
"""Bytes that must be free there, and in memory besides."""


def begin(config: pytest.Config) -> None:
    """For the run of the whole suite, not for the long tests; on a machine with much room."""
    if hasattr(config, "workerinput") or "not long" not in config.option.markexpr:
        return
    if not os.access(SHARED, os.W_OK) or os.statvfs(SHARED).f_flag & os.ST_NOEXEC:
        return  # no Linux, or a container: tests also run what they put there
    if shutil.disk_usage(SHARED).free < ROOM or free() < 2 * ROOM:
        return
    for folder in SHARED.glob(f"{PREFIX}*"):
        _, _, owner = folder.name.rpartition("-")
        if not Path(f"/proc/{owner}").exists():  # its run was killed
            shutil.rmtree(folder, ignore_errors=True)
    folder = SHARED / f"{PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o711)
    folder.chmod(0o711)  # PostgreSQL runs as another user than root
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def free() -> int:
    """Bytes of memory that may be used: of the machine, or of the container if it has less."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("MemAvailable:")]
    found = int(line.split()[1]) << 10
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        limit = int((group / "memory.max").read_text())
        found = min(found, limit - int((group / "memory.current").read_text()))
    return found

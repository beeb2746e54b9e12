"""Small disks for fault tests: an ext4 image over a loop device, whose power can be cut, and a
file system that can be filled. Both need root on Linux; `unavailable` says why they cannot be had.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_COMMIT_SECONDS = 300
"""The journal of the image is not written by itself before that: what nobody synced is lost."""


def unavailable() -> str | None:
    """Why no image can be mounted here; None when it can. Tries it with a tiny one."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting a loop image needs root on Linux"
    missing = [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    with tempfile.TemporaryDirectory(prefix="beam-volume-") as made:
        try:
            with Image(Path(made) / "try.img", Path(made) / "mnt", megabytes=8).mounted():
                return None
        except subprocess.CalledProcessError as problem:
            return f"no loop device: {problem.stderr.strip() or problem}"


def _do(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)


class Image:
    """An ext4 file system in the file `backing`, mounted at `folder`."""

    def __init__(self, backing: Path, folder: Path, *, megabytes: int) -> None:
        self.backing, self.folder, self._megabytes = backing, folder, megabytes

    @contextlib.contextmanager
    def mounted(self) -> Iterator[Path]:
        """Made when it is not there yet; unmounted at the end."""
        if not self.backing.exists():
            with self.backing.open("wb") as file:
                file.truncate(self._megabytes << 20)
            # Nothing is zeroed lazily in the background.
            _do("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.backing)
        self.folder.mkdir(parents=True, exist_ok=True)
        _do("mount", "-o", f"loop,commit={_COMMIT_SECONDS}", self.backing, self.folder)
        self.folder.chmod(0o711)
        try:
            yield self.folder
        finally:
            # Lazily: a server that is just ending may still hold a file.
            _do("umount", "-l", self.folder)

    def after_power_cut(self, backing: Path) -> "Image":
        """What the disk holds at this moment, without what the system only remembers. Whoever
        writes there is to be frozen meanwhile, so that the copy is of one moment."""
        # The loop device's own page cache is what the disk would have got: it must reach the
        # backing file, and nothing above it (no sync of the file system inside).
        _do("cp", "--sparse=always", self.backing, backing)
        return Image(backing, self.folder, megabytes=self._megabytes)


@contextlib.contextmanager
def small(folder: Path, *, megabytes: int) -> Iterator[Path]:
    """A file system in memory with room for so much, at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    mode = f"{folder.stat().st_mode & 0o777:o}"
    _do("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode={mode}", "none", folder)
    try:
        yield folder
    finally:
        _do("umount", "-l", folder)


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """No byte is left on the file system of `folder` until the end of the block."""
    filler = folder / "filler"
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(handle, bytes(size))
        yield
    finally:
        os.close(handle)
        filler.unlink()

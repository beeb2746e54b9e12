"""Room on the disk that a service writes to: the volume of its seals (`audit_anchor_dir`), which
on one host is the disk of the database and the broker as well, or that of the system."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from .metrics import DISK_FREE, DISK_TOTAL
from .settings import ServiceSettings

_SECONDS = 2.0
_known: dict[str, "Disk | None"] = {}


@dataclass(frozen=True)
class Disk:
    free_bytes: int
    total_bytes: int


def known(settings: ServiceSettings) -> Disk | None:
    """As of the last `measure`; None before the first."""
    return _known.get(settings.service)


async def measure(settings: ServiceSettings) -> Disk | None:
    """Also noted for /metrics. None when the system does not say in time, as a network volume
    whose server is away does not."""
    found = _known[settings.service] = await _ask(settings)
    if found is not None:
        DISK_FREE.labels(settings.service).set(found.free_bytes)
        DISK_TOTAL.labels(settings.service).set(found.total_bytes)
    return found


async def _ask(settings: ServiceSettings) -> Disk | None:
    folder = settings.audit_anchor_dir
    place = folder if folder is not None and folder.exists() else Path("/")
    try:
        async with asyncio.timeout(_SECONDS):
            usage = await asyncio.to_thread(shutil.disk_usage, place)
    except OSError:  # TimeoutError is one
        return None
    return Disk(usage.free, usage.total)

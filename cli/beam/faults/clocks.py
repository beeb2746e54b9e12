"""Clocks that jump: all programs and the database under libfaketime (Debian: `faketime`), journeys
over an hour forward and back, over a night of summer time and over the 29th of February."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..demo import started
from . import scenes
from .disks import merged
from .trial import trial

_LIBRARY = "faketime/libfaketimeMT.so.1"
PATIENCE = 180.0
HOUR = 3600.0
STEP_SECONDS = 8.0
"""Longer than a round of sealing, see `scenes.sealed`."""


@dataclass(frozen=True)
class Night:
    """When it begins (None: now), and the jumps, in seconds from the true course of time."""

    name: str
    begins: datetime | None
    jumps: Sequence[float]
    zone: str = "UTC"


NIGHTS = (
    # Ten past midnight in the city: an hour back is yesterday.
    Night("an hour back and forth", datetime(2027, 3, 3, 16, 10, tzinfo=UTC), (0, -HOUR, 0, HOUR)),
    Night(
        "summer time begins",
        datetime(2027, 3, 14, 6, 59, 30, tzinfo=UTC),
        (0,),
        "America/New_York",
    ),
    Night("29 February begins", datetime(2028, 2, 28, 15, 59, 30, tzinfo=UTC), (0,)),
    Night("29 February ends", datetime(2028, 2, 29, 15, 59, 30, tzinfo=UTC), (0,)),
)


def library() -> Path | None:
    """libfaketime, where the system has it."""
    for folder in sorted(Path("/usr/lib").glob("*-linux-gnu")):
        if (folder / _LIBRARY).exists():
            return folder / _LIBRARY
    return None


def unavailable() -> str | None:
    """Why clocks cannot be moved here; None when they can."""
    return None if library() else "libfaketime is not installed (apt-get install faketime)"


def _set(file: Path, seconds: float) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{seconds:+.0f}\n")
    fresh.replace(file)


async def _night(data: Path, file: Path, night: Night, shift: float, seed: int) -> dict[str, Any]:
    async with trial(data, seed=seed, patience=PATIENCE) as the:
        walking = asyncio.create_task(the.crowd.many(4, over=STEP_SECONDS * len(night.jumps)))
        for jump in night.jumps:
            _set(file, shift + jump)
            if jump:
                the.killer.struck.append(f"clock {jump:+.0f} s")
            await asyncio.sleep(STEP_SECONDS)
            # What was written while the clock was wrong and sealed only after it was right again
            # looks dated back, as indeed it is: a person accepts that. Not what is tried here.
            await scenes.sealed(the)
        await walking
        # Whoever passes midnight, passes it with journeys on both sides.
        await the.crowd.many(2)
        _set(file, shift)
        await the.settle()
        the.notes["nights"] = [night.name]
        return the.as_json()


def run(place: Path, *, seed: int, nights: Sequence[Night] = NIGHTS) -> dict[str, Any]:
    """Each night in a platform of its own."""
    reports = []
    for number, night in enumerate(nights):
        data, file = place / f"night{number}", place / f"clock{number}"
        shift = (night.begins - datetime.now(UTC)).total_seconds() if night.begins else 0.0
        _set(file, shift)
        file.chmod(0o644)
        faked = {
            "BEAM_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": night.zone,
        }
        with started(data, **faked):
            # The start takes its time: the night begins when the platform is up.
            late = (datetime.now(UTC) - _begun(file)).total_seconds() if night.begins else 0.0
            reports.append(asyncio.run(_night(data, file, night, shift - late, seed)))
    return merged(reports)


def _begun(file: Path) -> datetime:
    return datetime.fromtimestamp(os.stat(file).st_mtime, UTC)

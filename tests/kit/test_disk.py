"""Room on the disk that a service writes to."""

import os
from pathlib import Path

from pydantic import SecretStr

from kit.disk import known, measure
from kit.metrics import DISK_FREE, DISK_TOTAL
from kit.settings import ServiceSettings


def settings(folder: Path) -> ServiceSettings:
    return ServiceSettings(
        service="toy", database_url=SecretStr("postgresql+asyncpg://none"), audit_anchor_dir=folder
    )


async def test_it_is_that_of_the_folder_of_the_seals(tmp_path: Path) -> None:
    found = await measure(settings(tmp_path))
    size = os.statvfs(tmp_path)
    assert found is not None
    assert found.total_bytes == size.f_blocks * size.f_frsize
    assert 0 <= found.free_bytes <= found.total_bytes
    assert DISK_TOTAL.labels("toy")._value.get() == found.total_bytes
    assert DISK_FREE.labels("toy")._value.get() == found.free_bytes
    assert known(settings(tmp_path)) == found


async def test_without_such_a_folder_it_is_that_of_the_system(tmp_path: Path) -> None:
    found = await measure(settings(tmp_path / "not there"))
    assert found is not None
    assert found.total_bytes == os.statvfs("/").f_blocks * os.statvfs("/").f_frsize

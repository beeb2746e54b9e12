"""Licences of the demo people. Names and numbers are those of identity-svc's demo data: made up,
with valid check characters. Safe to run again."""

from datetime import date
from typing import Any

from kit.ids import derived_id
from kit.runtime import Runtime

from . import licences
from .models import Licence

ZHANG = licences.Holder("acc_zhangsan", "person", "张三", "310115199003077411")
LI = licences.Holder("acc_lisi", "person", "李四", "31011519881102302X")
PUDONG = "310115"
SHOP = {"name": "张三面馆", "address": "上海市浦东新区演示路100号"}
HELD: tuple[tuple[licences.Holder, str, str, date, int | None, dict[str, Any]], ...] = (
    (ZHANG, "LT-ID", "PSB", date(2021, 3, 8), 20, {"address": "上海市浦东新区演示路1号"}),
    (ZHANG, "LT-BIZ", "SAMR", date(2024, 6, 3), None, SHOP),
    (LI, "LT-ID", "PSB", date(2020, 5, 20), 20, {"address": "上海市浦东新区演示路2号"}),
)


async def seed(runtime: Runtime) -> None:
    """What the demo people hold before they start anything; nothing in production."""
    if runtime.settings.environment == "production":
        return
    async with runtime.sessions.begin() as session:
        for holder, licence_type, dept, valid_from, years, fields in HELD:
            licence_id = derived_id("lic", "demo", holder.account_id, licence_type)
            if await session.get(Licence, licence_id) is not None:
                continue
            await licences.issue(
                session,
                runtime.vault,
                runtime.parts["signer"],
                holder,
                licences.Grant(
                    licence_id=licence_id,
                    licence_type=licence_type,
                    region=PUDONG,
                    dept=dept,
                    valid_from=valid_from,
                    years=years,
                    fields=fields,
                ),
            )

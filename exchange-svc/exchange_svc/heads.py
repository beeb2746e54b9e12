"""The heads of the services' sealed records (kit.seals), as they were told here: the feed keeps
them in a database that is not theirs."""

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import EVENTS

from .models import FeedEntry

LAST = 200
"""So many of the last blocks of each service are held against each other."""
SEALED = ".audit_sealed.v1"


async def check(session: AsyncSession) -> dict[str, Any]:
    """The last block of each service; `ok` is false where one number was told with two hashes, or
    a block does not follow the one before: `broken` names them, as `<service> <block>`. What came
    before a block in which somebody has accepted what did not fit was looked at."""
    heads: dict[str, dict[str, Any]] = {}
    broken: list[str] = []
    for type_ in sorted(name for name in EVENTS if name.endswith(SEALED)):
        service = type_.removesuffix(SEALED)
        rows = await session.scalars(
            select(FeedEntry.body)
            .where(FeedEntry.subject == f"audit_{service}", FeedEntry.type == type_)
            .order_by(FeedEntry.seq.desc())
            .limit(LAST)
        )
        blocks = [json.loads(body)["data"] for body in rows]
        if not blocks:
            continue
        by_number = {block["block"]: block for block in blocks}
        last = by_number[max(by_number)]
        heads[service] = {"block": last["block"], "hash": last["hash"]}
        looked_at = max((b["block"] for b in blocks if b["kind"] == "accepted"), default=0)
        broken += [
            f"{service} {block['block']}"
            for block in blocks
            if block["block"] >= looked_at
            and (
                block["hash"] != by_number[block["block"]]["hash"]
                or not _follows(block, by_number.get(block["block"] - 1))
            )
        ]
    return {"ok": not broken, "broken": sorted(set(broken)), "heads": heads}


def _follows(block: dict[str, Any], before: dict[str, Any] | None) -> bool:
    """Whether it names the block before; one that accepts what did not fit may follow an older."""
    if before is None or block["kind"] == "accepted":
        return True
    return bool(block["previous"] == before["hash"])

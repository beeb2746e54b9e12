"""Materials: each slot is resolved once. What the government already holds is never asked for."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from kit.auth import Caller
from kit.calls import Calls
from kit.errors import Conflict, Invalid, NotFound, Problem
from kit.ids import derived_id, new_id
from kit.lookups import Lookup
from kit.secrets import Vault

from .models import Case, File, MaterialSlot

KINDS = {
    b"%PDF-": "application/pdf",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
}
OPEN_STATES = ("draft", "correction_requested")
OF_CASE = Lookup(select(MaterialSlot).order_by(MaterialSlot.position), by=MaterialSlot.case_id)


class NotAsked(Problem):
    status, code = 409, "material_not_asked"
    title = ("无需提交此材料", "This material is not asked for")


class FileUnfit(Problem):
    status, code = 415, "file_unfit"
    title = ("文件类型不支持", "This kind of file is not taken")


async def held_licences(calls: Calls, caller: Caller) -> list[dict[str, Any]]:
    """The caller's licences in force, as licence-svc tells them. Raises Unavailable."""
    answer = await calls.get("licence", "/v1/me/licences/in-force", as_=caller)
    return list(answer["items"])


def open_slots(session: AsyncSession, case: Case, item: Mapping[str, Any]) -> list[MaterialSlot]:
    """A slot per material of the item, in its order; all needed at first."""
    slots = [
        MaterialSlot(
            id=derived_id("slot", case.id, material["id"], str(position)),
            case_id=case.id,
            position=position,
            material_id=material["id"],
            name=material["name"],
            necessity=material["necessity"],
            licence_type=material.get("licence_type"),
            state="needed",
        )
        for position, material in enumerate(item["materials"])
    ]
    session.add_all(slots)
    return slots


def exempt(slots: Sequence[MaterialSlot], licences: Sequence[Mapping[str, Any]]) -> None:
    """Take from the list what a licence in force already shows."""
    by_type = {licence["licence_type"]: licence for licence in licences}
    for slot in slots:
        licence = by_type.get(slot.licence_type or "")
        if slot.state == "needed" and licence is not None:
            slot.state, slot.reason_code = "exempt", "held_as_licence"
            slot.licence_id = licence["id"]


async def of_case(session: AsyncSession, case_id: str) -> Sequence[MaterialSlot]:
    found = await session.scalars(
        select(MaterialSlot).filter_by(case_id=case_id).order_by(MaterialSlot.position)
    )
    return found.all()


def check_complete(slots: Sequence[MaterialSlot]) -> None:
    """Raises Invalid (422) naming each required material that is still missing."""
    errors = [
        {
            "pointer": f"/materials/{slot.id}",
            "code": "missing",
            "message": f"请上传“{slot.name}”。",
            "message_en": "Please upload this material.",
        }
        for slot in slots
        if slot.necessity == "required" and slot.state == "needed"
    ]
    if errors:
        raise Invalid("还有必要材料没有上传。", "Required materials are missing.", errors=errors)


def media_type(content: bytes) -> str:
    """Told by the content, never by name or header. Raises FileUnfit (415)."""
    for start, kind in KINDS.items():
        if content.startswith(start):
            return kind
    raise FileUnfit("请上传 PDF、PNG 或 JPEG 文件。", "Upload a PDF, PNG or JPEG file.")


async def upload(
    session: AsyncSession, vault: Vault, case: Case, slot_id: str, content: bytes, caller: Caller
) -> MaterialSlot:
    """Put a file into a slot of the (locked) case; the last upload counts.

    Raises NotFound, Conflict when the case is not open for changes, NotAsked for a material
    that a licence already covers, FileUnfit.
    """
    slot = await session.get(MaterialSlot, slot_id, with_for_update=True)
    if slot is None or slot.case_id != case.id:
        raise NotFound("此办件没有这项材料。", "This case has no such material.")
    if case.state not in OPEN_STATES:
        raise Conflict(
            "办件已提交,现在不能更换材料。需要补正时会通知您。",
            "The case is handed in; materials can be changed when a correction is asked for.",
        )
    if slot.state == "exempt":
        raise NotAsked(
            "政府部门已持有此材料,无需提交。", "The government already holds this; do not send it."
        )
    kind = media_type(content)
    file = File(
        id=new_id("file"),
        case_id=case.id,
        digest=hashlib.sha256(content).hexdigest(),
        media_type=kind,
        size=len(content),
        uploaded_by=caller.actor or caller.subject,
    )
    file.content = vault.seal_bytes(content, bound_to=f"file|content|{file.id}")
    session.add(file)
    slot.state, slot.file_id, slot.reason_code = "uploaded", file.id, None
    return slot


async def content(
    session: AsyncSession, vault: Vault, case: Case, slot_id: str
) -> tuple[File, bytes]:
    """The file in a slot. Raises NotFound."""
    slot = await session.get(MaterialSlot, slot_id)
    file = None
    if slot is not None and slot.case_id == case.id and slot.file_id:
        file = await session.get(File, slot.file_id, options=[undefer(File.content)])
    if file is None:
        raise NotFound("这项材料还没有文件。", "There is no file in this slot.")
    return file, vault.open_bytes(file.content, bound_to=f"file|content|{file.id}")

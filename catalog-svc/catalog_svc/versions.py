"""Writing the catalogue: drafts, review by a second person, publication, suspension.

Only a supervisor or operator of the item's department may write. A published version never
changes again (the database refuses it); a new one takes over at a moment, without a gap.
"""

from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.auth import Caller
from kit.clock import now
from kit.errors import Conflict, Forbidden, Invalid, NotFound, Problem, field_errors
from kit.ids import new_id
from kit.rights import may
from kit.states import move

from . import items, searches
from .contents import ItemContent
from .models import IN_FORCE, TRANSITIONS, Department, Item, ItemVersion, MaterialDef


class FourEyes(Problem):
    status, code, title = 403, "four_eyes", ("需要另一人发布", "Another person has to publish")


def _check_writer(caller: Caller, dept: str, code: str) -> None:
    # An item is written once for the whole city, so the region of its writers does not count.
    if not any(may(caller, role, dept=dept, item=code) for role in ("supervisor", "operator")):
        raise Forbidden(
            "只有事项所属部门的督办或运维人员可以编辑事项。",
            "Only supervisors and operators of the item's department may edit it.",
        )


def checked(content: dict[str, Any]) -> ItemContent:
    """The content as a value. Raises Invalid with one entry per thing to mend."""
    try:
        return ItemContent.model_validate(content)
    except ValidationError as exc:
        raise Invalid(
            "事项内容需要修改,请看 errors 中逐项的说明。",
            "The content of the item needs a change; see errors.",
            errors=[
                {**error, "pointer": "/content" + error["pointer"].rstrip("/")}
                for error in field_errors(exc.errors(include_url=False, include_input=False))
            ],
        ) from None


async def _locked(session: AsyncSession, caller: Caller, code: str) -> Item:
    item = await session.get(Item, code, with_for_update=True)
    if item is None:
        raise items.no_item()
    _check_writer(caller, item.dept, code)
    return item


async def create_item(
    session: AsyncSession, caller: Caller, *, code: str, dept: str, content: ItemContent
) -> ItemVersion:
    """A new item with its first draft. Raises Forbidden, Conflict when the code is taken."""
    _check_writer(caller, dept, code)
    if await session.get(Department, dept) is None:
        raise _unknown("/dept")
    add = insert(Item).values(code=code, dept=dept, version=1).on_conflict_do_nothing()
    item = await session.scalar(add.returning(Item))
    if item is None:
        raise Conflict("事项编码已被使用,请换一个。", "The code of the item is taken.")
    return await _draft(session, caller, item, content.model_dump(mode="json"))


async def open_draft(session: AsyncSession, caller: Caller, code: str) -> ItemVersion:
    """A draft that starts as a copy of the newest version. Raises NotFound, Forbidden, Conflict
    when a draft is open already."""
    item = await _locked(session, caller, code)
    newest = await session.scalar(
        select(ItemVersion)
        .where(ItemVersion.item_code == code)
        .order_by(ItemVersion.number.desc())
        .limit(1)
    )
    if newest is None:
        raise items.no_item()
    if newest.state in ("draft", "in_review"):
        raise Conflict(
            "此事项已有一份草稿,请继续编辑那一份。",
            "The item has an open draft; go on with that one.",
        )
    return await _draft(session, caller, item, _editable(newest.content))


def _editable(content: dict[str, Any]) -> dict[str, Any]:
    """The content without what publication adds."""
    return ItemContent.model_construct(
        **{k: v for k, v in content.items() if k in ItemContent.model_fields}
    ).model_dump(mode="json", warnings=False)


async def _draft(
    session: AsyncSession, caller: Caller, item: Item, content: dict[str, Any]
) -> ItemVersion:
    last = await session.scalar(
        select(func.max(ItemVersion.number)).where(ItemVersion.item_code == item.code)
    )
    draft = ItemVersion(
        id=new_id("itv"),
        item_code=item.code,
        item_number=item.number,
        number=(last or 0) + 1,
        state="draft",
        version=1,
        region=items.CITY_REGION,
        dept=item.dept,
        content=content,
        edited_by=caller.subject,
    )
    session.add(draft)
    await session.flush()
    return draft


async def load_draft(
    session: AsyncSession, caller: Caller, code: str, number: int, *, lock: bool = False
) -> ItemVersion:
    """A draft or version in review of the caller's department. Raises NotFound, Forbidden."""
    query = select(ItemVersion).where(
        ItemVersion.item_code == code,
        ItemVersion.number == number,
        ItemVersion.valid_from.is_(None),
    )
    draft = await session.scalar(query.with_for_update() if lock else query)
    if draft is None:
        raise NotFound("没有这份草稿。", "There is no such draft.")
    _check_writer(caller, draft.dept, code)
    return draft


def edit(draft: ItemVersion, caller: Caller, changes: dict[str, Any]) -> None:
    """Change the given parts of a (locked) draft. Raises Conflict, Invalid."""
    if draft.state != "draft":
        raise Conflict(
            "此版本已送审,不能修改。如需修改,请先退回。",
            "The version is in review; return it first to change it.",
        )
    content = checked(draft.content | changes)
    draft.content = content.model_dump(mode="json")
    draft.edited_by = caller.subject
    draft.version += 1


def submit(session: AsyncSession, draft: ItemVersion, caller: Caller) -> None:
    """Hand the (locked) draft to a second person."""
    checked(draft.content)
    move(session, draft, TRANSITIONS, "submit")
    draft.edited_by = caller.subject


def send_back(session: AsyncSession, draft: ItemVersion) -> None:
    """Back from review to draft."""
    move(session, draft, TRANSITIONS, "return")


def discard(session: AsyncSession, draft: ItemVersion) -> None:
    """Give a draft up."""
    move(session, draft, TRANSITIONS, "discard")


async def publish(session: AsyncSession, draft: ItemVersion, caller: Caller) -> None:
    """Bring the (locked) version in force now; the version before it ends at the same moment.

    Raises FourEyes when the caller edited it, IllegalMove, Invalid for unknown codes.
    """
    if draft.edited_by == caller.subject:
        raise FourEyes(
            "发布人不能是编辑或送审人。请由本部门另一位人员发布。",
            "Who edited or submitted a version may not publish it.",
        )
    item = await _locked(session, caller, draft.item_code)
    before = await session.scalar(
        select(ItemVersion)
        .where(ItemVersion.item_code == item.code, ItemVersion.state.in_(IN_FORCE))
        .with_for_update()
    )
    materials = {m.code: m for m in await session.scalars(select(MaterialDef))}
    depts = {d.code: d.name for d in await session.scalars(select(Department))}
    await release(
        session, item, draft, before=before, materials=materials, depts=depts, by=caller.subject
    )


async def release(
    session: AsyncSession,
    item: Item,
    version: ItemVersion,
    *,
    before: ItemVersion | None,
    materials: dict[str, MaterialDef],
    depts: dict[str, str],
    by: str,
) -> None:
    """The part of `publish` that the seed shares: resolve, freeze, supersede, index, tell."""
    version.content = _resolved(checked(version.content), materials, depts)
    moment = now()
    if before is not None:
        move(session, before, TRANSITIONS, "supersede")
        before.valid_to = moment
        await session.flush()
    move(
        session,
        version,
        TRANSITIONS,
        "publish",
        item_code=item.code,
        item_version=version.number,
    )
    version.valid_from, version.published_by = moment, by
    item.version += 1
    await searches.index(session, item, version, depts[item.dept])


def _resolved(
    content: ItemContent, materials: dict[str, MaterialDef], depts: dict[str, str]
) -> dict[str, Any]:
    """The content with what its codes stand for, so that the version says all by itself."""
    needs = []
    for place, need in enumerate(content.materials):
        known = materials.get(need.id)
        if known is None:
            raise _unknown(f"/content/materials/{place}/id")
        found = {"name": known.name, "kind": known.kind, "source": known.source}
        needs.append(need.model_dump() | found | {"licence_type": known.licence_type})
    for place, dept in enumerate(content.review_depts):
        if dept not in depts:
            raise _unknown(f"/content/review_depts/{place}")
    return content.model_dump(mode="json") | {
        "materials": needs,
        "applicant_kinds": content.serves,
    }


def _unknown(pointer: str) -> Invalid:
    return Invalid(
        "引用的代码不存在,请看 errors。",
        "A code stands for nothing; see errors.",
        errors=[
            {
                "pointer": pointer,
                "code": "unknown_code",
                "message": "目录中没有这个代码,请核对。",
                "message_en": "There is no such code in the catalogue.",
            }
        ],
    )


async def change_in_force(
    session: AsyncSession, caller: Caller, code: str, action: str
) -> ItemVersion:
    """`suspend`, `resume` or `withdraw` the version in force. Raises NotFound, Forbidden,
    IllegalMove."""
    item = await _locked(session, caller, code)
    version = await session.scalar(
        select(ItemVersion)
        .where(ItemVersion.item_code == code, ItemVersion.state.in_(IN_FORCE))
        .with_for_update()
    )
    if version is None:
        raise items.no_item()
    move(session, version, TRANSITIONS, action, item_code=item.code, item_version=version.number)
    item.version += 1
    if action == "resume":
        dept = await session.get_one(Department, item.dept)
        await searches.index(session, item, version, dept.name)
    else:
        await searches.forget(session, code)
    if action == "withdraw":
        version.valid_to = now()
    return version

"""What the supervisors and operators of a department do: draft, edit, review, publish, suspend."""

from fastapi import APIRouter, Response

from kit import routing
from kit.auth import Staff
from kit.routing import IfMatch, Session, check_version, etag

from .. import schemas, versions
from ..models import ItemVersion
from .public import ItemCode, Number

router: APIRouter = routing.router(prefix="/v1/items", tags=["catalog editing"])


def _draft(response: Response, draft: ItemVersion) -> schemas.DraftOut:
    response.headers["etag"] = etag(draft.version)
    return schemas.DraftOut.model_validate(draft)


def _new_draft(response: Response, draft: ItemVersion) -> schemas.DraftOut:
    response.headers["location"] = f"/v1/items/{draft.item_code}/drafts/{draft.number}"
    return _draft(response, draft)


def _state(response: Response, version: ItemVersion) -> schemas.VersionState:
    response.headers["etag"] = etag(version.version)
    return schemas.VersionState(
        item_code=version.item_code, number=version.number, state=version.state
    )


@router.post("", status_code=201)
async def create_item(
    response: Response, session: Session, caller: Staff, body: schemas.NewItem
) -> schemas.DraftOut:
    """Add an item to the catalogue, with its first draft."""
    draft = await versions.create_item(
        session, caller, code=body.code, dept=body.dept, content=body.content
    )
    return _new_draft(response, draft)


@router.post("/{code}/drafts", status_code=201)
async def open_item_draft(
    response: Response, session: Session, caller: Staff, code: ItemCode
) -> schemas.DraftOut:
    """Open a draft of the next version; it starts as a copy of the newest one."""
    return _new_draft(response, await versions.open_draft(session, caller, code))


@router.get("/{code}/drafts/{number}")
async def read_item_draft(
    response: Response, session: Session, caller: Staff, code: ItemCode, number: Number
) -> schemas.DraftOut:
    """Read a draft or a version in review."""
    return _draft(response, await versions.load_draft(session, caller, code, number))


@router.patch("/{code}/drafts/{number}")
async def edit_item_draft(
    response: Response,
    session: Session,
    caller: Staff,
    code: ItemCode,
    number: Number,
    body: schemas.Edit,
    seen: IfMatch,
) -> schemas.DraftOut:
    """Change parts of a draft. Needs If-Match."""
    draft = await versions.load_draft(session, caller, code, number, lock=True)
    check_version(draft.version, seen, required=True)
    versions.edit(draft, caller, body.content)
    return _draft(response, draft)


@router.post("/{code}/drafts/{number}/submit")
async def submit_item_draft(
    response: Response,
    session: Session,
    caller: Staff,
    code: ItemCode,
    number: Number,
    seen: IfMatch,
) -> schemas.VersionState:
    """Hand a draft to a second person for review."""
    draft = await versions.load_draft(session, caller, code, number, lock=True)
    check_version(draft.version, seen)
    versions.submit(session, draft, caller)
    return _state(response, draft)


@router.post("/{code}/drafts/{number}/return")
async def return_item_draft(
    response: Response,
    session: Session,
    caller: Staff,
    code: ItemCode,
    number: Number,
    seen: IfMatch,
) -> schemas.VersionState:
    """Send a version from review back to draft."""
    draft = await versions.load_draft(session, caller, code, number, lock=True)
    check_version(draft.version, seen)
    versions.send_back(session, draft)
    return _state(response, draft)


@router.post("/{code}/drafts/{number}/discard")
async def discard_item_draft(
    response: Response,
    session: Session,
    caller: Staff,
    code: ItemCode,
    number: Number,
    seen: IfMatch,
) -> schemas.VersionState:
    """Give a draft up; its number is not used again."""
    draft = await versions.load_draft(session, caller, code, number, lock=True)
    check_version(draft.version, seen)
    versions.discard(session, draft)
    return _state(response, draft)


@router.post("/{code}/drafts/{number}/publish")
async def publish_item_draft(
    response: Response,
    session: Session,
    caller: Staff,
    code: ItemCode,
    number: Number,
    seen: IfMatch,
) -> schemas.VersionState:
    """Bring a reviewed version in force now. Who edited it may not do it."""
    draft = await versions.load_draft(session, caller, code, number, lock=True)
    check_version(draft.version, seen)
    await versions.publish(session, draft, caller)
    return _state(response, draft)


@router.post("/{code}/suspend")
async def suspend_item(
    response: Response, session: Session, caller: Staff, code: ItemCode
) -> schemas.VersionState:
    """Take no new cases of an item for now; open cases go on."""
    return _state(response, await versions.change_in_force(session, caller, code, "suspend"))


@router.post("/{code}/resume")
async def resume_item(
    response: Response, session: Session, caller: Staff, code: ItemCode
) -> schemas.VersionState:
    """Take cases of a suspended item again."""
    return _state(response, await versions.change_in_force(session, caller, code, "resume"))


@router.post("/{code}/withdraw")
async def withdraw_item(
    response: Response, session: Session, caller: Staff, code: ItemCode
) -> schemas.VersionState:
    """Take an item out of the catalogue; its versions stay readable."""
    return _state(response, await versions.change_in_force(session, caller, code, "withdraw"))

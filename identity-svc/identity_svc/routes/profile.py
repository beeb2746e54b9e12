"""The profile over HTTP: one's own, and what services may read of it for a purpose."""

from typing import Annotated

from fastapi import Path, Response

from kit import routing
from kit.auth import Applicant, ServiceCaller
from kit.routing import Session

from .. import profiles
from ..schemas_personal import Declaration, FactOut, ProfileFor, ProfileOut, Purpose, TagOut, Tags
from .web import At

router = routing.router(tags=["my data"])
Key = Annotated[str, Path(max_length=40, pattern="^[a-z][A-Za-z0-9._-]+$")]


@router.get("/v1/me/profile")
async def my_profile(at: At, session: Session, caller: Applicant) -> ProfileOut:
    """What is known of the caller, from whom, what for, until when; and the tags that follow."""
    facts, tags = await profiles.own(session, at.runtime.vault, caller.subject)
    return ProfileOut(
        facts=[FactOut.of(fact) for fact in facts],
        tags=[TagOut.model_validate(tag) for tag in tags],
    )


@router.get("/v1/me/profile/tags")
async def my_tags(session: Session, caller: Applicant) -> Tags:
    """The tags of the caller, each with the fact and the rule that it follows from."""
    held = await profiles.tags(session, caller.subject)
    return Tags(items=[TagOut.model_validate(tag) for tag in held])


@router.put("/v1/me/profile/facts/{key}")
async def declare_fact(
    at: At, session: Session, key: Key, body: Declaration, caller: Applicant
) -> FactOut:
    """Say something of oneself, or say it anew; it is marked as self-declared."""
    fact = await profiles.declare(
        session, at.runtime.vault, caller.subject, key=key, value=body.value
    )
    return FactOut.of(fact)


@router.delete("/v1/me/profile/facts/{key}", status_code=204)
async def withdraw_fact(at: At, session: Session, key: Key, caller: Applicant) -> Response:
    """Take back what one said of oneself."""
    await profiles.withdraw(session, at.runtime.vault, caller.subject, key=key)
    return Response(status_code=204)


@router.get("/internal/v1/accounts/{account_id}/profile")
async def account_profile(
    at: At, account_id: str, purpose: Purpose, caller: ServiceCaller
) -> ProfileFor:
    """What may be read of an account for this purpose; the read is logged."""
    async with at.runtime.sessions.begin() as session:
        found = await profiles.read_for(
            session, at.runtime.vault, account_id, reader=caller.subject, purpose=purpose
        )
    facts = [FactOut.of(fact) for fact in found["facts"]]
    return ProfileFor.model_validate({**found, "facts": facts})

"""The profile of an account (一人一档, 一企一档): facts with their sources, and tags.

Every fact names who said it, what it may be read for, and until when it holds. Sources: licences
and closed cases (by events), the register of citizens (once name and number are proven), and
people themselves. Reading for a purpose gives only what may be read for it, and is logged.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.identity import TagChanged
from kit.clock import now
from kit.errors import Invalid, NotFound
from kit.ids import derived_id, new_id
from kit.outbox import emit
from kit.secrets import Vault
from kit.states import move

from . import accounts, profile_rules
from .models import AccessLog, Account
from .models_personal import TAG_TRANSITIONS, ProfileFact, ProfileTag

View = dict[str, Any]


def _bound(fact_id: str) -> str:
    return f"profile_fact|value|{fact_id}"


async def _locked(session: AsyncSession, account_id: str) -> Account | None:
    """The account, so that changes of one profile follow each other; signing in goes on beside."""
    query = select(Account).where(Account.id == account_id).with_for_update(key_share=True)
    # (As it is now: it may have been read before it was locked, and closed in between.)
    return await session.scalar(query.execution_options(populate_existing=True))


async def learn(
    session: AsyncSession,
    vault: Vault,
    account_id: str,
    *,
    key: str,
    value: str,
    source: str,
    source_ref: str = "",
    dept: str | None = None,
    source_version: int = 1,
    state: str = "valid",
    obtained_at: datetime,
    expires_at: datetime | None = None,
    state_only: bool = False,
) -> None:
    """What a source says now. What it said before (a smaller version) changes nothing any more,
    but for an end that was not told since. `state_only`: it told no more than the new state.
    An account that we do not have, or that is closed, has no profile."""
    account = await _locked(session, account_id)
    if account is None or account.state == "closed":
        return
    known = await session.scalar(
        select(ProfileFact).where(
            ProfileFact.account_id == account_id,
            ProfileFact.key == key,
            ProfileFact.source == source,
            ProfileFact.source_ref == source_ref,
        )
    )
    late = known is not None and known.source_version >= source_version
    if late and (known is None or known.expires_at is not None or expires_at is None):
        return
    at = now()
    fact = known or ProfileFact(
        id=new_id("fact"), account_id=account_id, key=key, source=source, source_ref=source_ref
    )
    if not late:
        fact.state, fact.source_version = state, source_version
    if known is None or not state_only:
        fact.value = vault.seal(value, bound_to=_bound(fact.id))
        fact.purposes = (profile_rules.about(key) or {"purposes": []})["purposes"]
        fact.dept, fact.obtained_at, fact.expires_at = dept, obtained_at, expires_at
    if fact.state == "valid" and fact.expires_at is not None and fact.expires_at <= at:
        fact.state = "expired"
    due = profile_rules.next_look(key, value, fact.expires_at, at)
    fact.due_at = due if fact.state == "valid" else None
    session.add(fact)
    await session.flush()
    await _conclude(session, vault, account, at)


async def proven(session: AsyncSession, vault: Vault, account_id: str) -> None:
    """Name and number of a person are proven: what the number says is known."""
    account = await session.get(Account, account_id)
    if account is None or account.kind != "person" or account.level < "L2":
        return
    _, number = accounts.name_and_number(vault, account)
    if number is None:
        return
    for key, value in profile_rules.of_id_number(number).items():
        await learn(
            session, vault, account_id, key=key, value=value, source="register", obtained_at=now()
        )


async def declare(
    session: AsyncSession, vault: Vault, account_id: str, *, key: str, value: str
) -> View:
    """The person says this of himself; what he said of it before is replaced. Raises NotFound
    for what is not his to declare, Invalid for a value that it cannot have."""
    rule = profile_rules.declarable(key)
    account = await _locked(session, account_id)
    if rule is None or account is None:
        raise _no_fact()
    if "values" in rule and value not in rule["values"]:
        raise Invalid(
            "请从可选值中选择:" + "、".join(rule["values"]) + "。",
            "Choose one of: " + ", ".join(rule["values"]) + ".",
        )
    if not value or len(value) > rule.get("longest", 40):
        raise Invalid(
            f"请填写 1 至 {rule.get('longest', 40)} 个字。",
            f"Enter 1 to {rule.get('longest', 40)} characters.",
        )
    at = now()
    known = await _declared(session, account_id, key)
    await learn(
        session,
        vault,
        account_id,
        key=key,
        value=value,
        source="self",
        source_version=known.source_version + 1 if known else 1,
        obtained_at=at,
        expires_at=profile_rules.declared_until(rule["days"], at),
    )
    fact = await _declared(session, account_id, key)
    assert fact is not None
    return view(vault, fact)


async def correct(
    session: AsyncSession, vault: Vault, account_id: str, *, fact_id: str, value: str
) -> None:
    """The source of a fact says that this is right; the tags follow."""
    account = await _locked(session, account_id)
    fact = await session.get(ProfileFact, fact_id, with_for_update=True)
    if account is None or fact is None:
        return
    at = now()
    fact.value, fact.obtained_at = vault.seal(value, bound_to=_bound(fact.id)), at
    if fact.state == "valid":
        fact.due_at = profile_rules.next_look(fact.key, value, fact.expires_at, at)
    await session.flush()
    await _conclude(session, vault, account, at)


async def withdraw(session: AsyncSession, vault: Vault, account_id: str, *, key: str) -> None:
    """The person takes back what he declared: it is gone. Raises NotFound."""
    account = await _locked(session, account_id)
    fact = await _declared(session, account_id, key)
    if account is None or fact is None:
        raise _no_fact()
    await session.delete(fact)
    await session.flush()
    await _conclude(session, vault, account, now())


async def _declared(session: AsyncSession, account_id: str, key: str) -> ProfileFact | None:
    found: ProfileFact | None = await session.scalar(
        select(ProfileFact).where(
            ProfileFact.account_id == account_id,
            ProfileFact.key == key,
            ProfileFact.source == "self",
        )
    )
    return found


async def own(
    session: AsyncSession, vault: Vault, account_id: str
) -> tuple[list[View], list[View]]:
    """All facts and the tags held, as their owner sees them."""
    query = select(ProfileFact).where(ProfileFact.account_id == account_id)
    rows = await session.scalars(query.order_by(ProfileFact.key, ProfileFact.id))
    return [view(vault, row) for row in rows], await tags(session, account_id)


async def tags(session: AsyncSession, account_id: str) -> list[View]:
    """The tags that an account holds, each with the fact that it follows from."""
    query = (
        select(ProfileTag, ProfileFact)
        .outerjoin(ProfileFact, ProfileFact.id == ProfileTag.fact_id)
        .where(ProfileTag.account_id == account_id, ProfileTag.state == "held")
        .order_by(ProfileTag.code)
    )
    return [
        {
            **{name: profile_rules.tag(row.code)[name] for name in ("name", "name_en", "basis")},
            "code": row.code,
            "fact": fact.key if fact else "",
            "self_declared": bool(fact and fact.source == "self"),
            "since": row.since,
            "expires_at": row.expires_at,
        }
        for row, fact in await session.execute(query)
    ]


async def read_for(
    session: AsyncSession, vault: Vault, account_id: str, *, reader: str, purpose: str
) -> View:
    """What may be read for this purpose, in force now; the read is written to the access log.
    Raises NotFound for an account that is not there."""
    account = await session.get(Account, account_id)
    if account is None:
        raise NotFound("没有找到这个账户。", "There is no such account.")
    at = now()
    rows = await session.scalars(
        select(ProfileFact)
        .where(
            ProfileFact.account_id == account_id,
            ProfileFact.state == "valid",
            ProfileFact.purposes.contains([purpose]),
        )
        .order_by(ProfileFact.key, ProfileFact.id)
    )
    facts = [view(vault, row) for row in rows if row.expires_at is None or row.expires_at > at]
    plain: dict[str, str] = {}
    if purpose == "prefill":
        plain["name"], _ = accounts.name_and_number(vault, account)
        plain |= {"phone": phone} if (phone := accounts.phone_of(vault, account)) else {}
    held = await tags(session, account_id) if purpose in ("service_task", "recommend") else []
    fields = sorted({*plain, *(fact["key"] for fact in facts)})
    session.add(
        AccessLog(
            id=new_id("read"),
            account_id=account_id,
            reader=reader,
            purpose=purpose,
            fields=fields,
            at=at,
        )
    )
    return {
        "id": account.id,
        "kind": account.kind,
        "values": {**{fact["key"]: fact["value"] for fact in reversed(facts)}, **plain},
        "facts": facts,
        "tags": [tag["code"] for tag in held],
    }


def view(vault: Vault, fact: ProfileFact) -> View:
    """A fact with its value and its names."""
    names = profile_rules.about(fact.key) or {"name": fact.key, "name_en": fact.key}
    return {
        "id": fact.id,
        "key": fact.key,
        "name": names["name"],
        "name_en": names["name_en"],
        "value": vault.open(fact.value, bound_to=_bound(fact.id)),
        "source": fact.source,
        "source_ref": fact.source_ref or None,
        "dept": fact.dept,
        "self_declared": fact.source == "self",
        "purposes": fact.purposes,
        "state": fact.state,
        "obtained_at": fact.obtained_at,
        "expires_at": fact.expires_at,
    }


async def look_again(session: AsyncSession, vault: Vault, *, limit: int = 200) -> int:
    """Expire the facts whose time is over, and follow ages. Returns how many were looked at."""
    at = now()
    due: Sequence[tuple[str, str]] = [
        (row.id, row.account_id)
        for row in await session.execute(
            select(ProfileFact.id, ProfileFact.account_id)
            .where(ProfileFact.due_at <= at)
            .order_by(ProfileFact.due_at)
            .limit(limit)
        )
    ]
    for account_id in sorted({account for _, account in due}):
        account = await _locked(session, account_id)
        rows = await session.scalars(
            select(ProfileFact)
            .where(ProfileFact.account_id == account_id, ProfileFact.due_at <= at)
            .with_for_update()
        )
        for fact in rows:
            if fact.expires_at is not None and fact.expires_at <= at:
                fact.state, fact.due_at = "expired", None
            else:
                value = vault.open(fact.value, bound_to=_bound(fact.id))
                fact.due_at = profile_rules.next_look(fact.key, value, fact.expires_at, at)
        await session.flush()
        if account is not None:
            await _conclude(session, vault, account, at)
    return len(due)


async def _conclude(session: AsyncSession, vault: Vault, account: Account, at: datetime) -> None:
    """Bring the tags in line with the facts and tell what changed."""
    valued, present = profile_rules.looked_at(account.kind)
    valid = select(ProfileFact).where(
        ProfileFact.account_id == account.id,
        ProfileFact.state == "valid",
        or_(ProfileFact.expires_at.is_(None), ProfileFact.expires_at > at),
    )
    # A firm may have thousands of licences and closed cases: of each kind that counts, the one
    # that carries a tag longest is enough.
    longest = (
        valid.where(ProfileFact.key.in_(present))
        .ext(distinct_on(ProfileFact.key))
        .order_by(
            ProfileFact.key, ProfileFact.expires_at.desc().nulls_first(), ProfileFact.id.desc()
        )
    )
    facts = [
        *await session.scalars(valid.where(ProfileFact.key.in_(valued))),
        *await session.scalars(longest),
    ]
    known = [
        profile_rules.Known(
            row.id, row.key, vault.open(row.value, bound_to=_bound(row.id)), row.expires_at
        )
        for row in facts
    ]
    follows = {c.code: c for c in profile_rules.conclude(account.kind, known, at)}
    rows = await session.scalars(select(ProfileTag).where(ProfileTag.account_id == account.id))
    stored = {row.code: row for row in rows}

    def told(code: str, held: bool) -> dict[str, Any]:
        return {"account_id": account.id, "tag": code, "held": held}

    for code, row in stored.items():
        if code in follows:
            row.fact_id, row.expires_at = follows[code].fact_id, follows[code].expires_at
            if row.state == "lost":
                row.since = at
                move(session, row, TAG_TRANSITIONS, "gain", **told(code, True))
        elif row.state == "held":
            move(session, row, TAG_TRANSITIONS, "lose", **told(code, False))
    for code in follows.keys() - stored.keys():
        row = ProfileTag(
            id=derived_id("tag", account.id, code),
            account_id=account.id,
            code=code,
            state="held",
            version=1,
            fact_id=follows[code].fact_id,
            since=at,
            expires_at=follows[code].expires_at,
        )
        session.add(row)
        emit(session, TagChanged(**told(code, True)), subject=row.id, version=1)
    await session.flush()


def _no_fact() -> NotFound:
    return NotFound("没有找到您自行填报的这一项。", "There is no such fact for you to declare.")

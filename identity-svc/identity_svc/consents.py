"""What people let other people's applications know, and taking that back."""

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.identity import ConsentGranted, ConsentWithdrawn
from kit.clock import now
from kit.errors import NotFound
from kit.ids import new_id
from kit.outbox import emit

from . import families
from .models import Client, Consent


async def give(
    session: AsyncSession, *, account_id: str, client_id: str, scopes: tuple[str, ...]
) -> None:
    """The person agreed that this client learns this; what was agreed before stays."""
    known = await session.get(Consent, (account_id, client_id), with_for_update=True)
    together = sorted({*scopes, *(known.scopes if known else ())})
    row = insert(Consent).values(
        account_id=account_id, client_id=client_id, scopes=together, given_at=now()
    )
    await session.execute(
        row.on_conflict_do_update(
            index_elements=[Consent.account_id, Consent.client_id],
            set_={"scopes": row.excluded.scopes, "given_at": row.excluded.given_at},
        )
    )
    granted = ConsentGranted(account_id=account_id, client_id=client_id, scopes=together)
    emit(session, granted, subject=new_id("consent"), version=1)


async def of_account(session: AsyncSession, account_id: str) -> list[tuple[Consent, Client]]:
    """Which clients the person agreed to, by name."""
    query = (
        select(Consent, Client)
        .join(Client, Client.client_id == Consent.client_id)
        .where(Consent.account_id == account_id)
        .order_by(Client.name, Client.client_id)
    )
    return [(consent, client) for consent, client in await session.execute(query)]


async def withdraw(session: AsyncSession, *, account_id: str, client_id: str) -> None:
    """The client learns nothing more, and its tokens are refused. Raises NotFound."""
    mine = (Consent.account_id == account_id, Consent.client_id == client_id)
    gone = await session.scalar(delete(Consent).where(*mine).returning(Consent.client_id))
    if gone is None:
        raise NotFound("没有找到这项授权。", "There is no such consent.")
    await families.revoke_of_client(session, account_id, client_id)
    withdrawn = ConsentWithdrawn(account_id=account_id, client_id=client_id)
    emit(session, withdrawn, subject=new_id("consent"), version=1)

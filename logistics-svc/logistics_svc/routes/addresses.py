"""The caller's own address book."""

from fastapi import Request, Response

from kit.auth import Applicant
from kit.routing import Session
from kit.routing import router as new_router

from .. import addresses
from ..schemas import AddressIn, AddressOut

router = new_router(prefix="/v1/addresses", tags=["addresses"])


@router.post("", status_code=201)
async def add_address(
    session: Session, caller: Applicant, body: AddressIn, request: Request, response: Response
) -> AddressOut:
    """Add an entry; it is stored sealed and shown masked."""
    vault = request.app.state.runtime.vault
    address = await addresses.add(session, vault, account_id=caller.subject, **body.model_dump())
    response.headers["location"] = f"/v1/addresses/{address.id}"
    return AddressOut.model_validate(addresses.masked(vault, address))


@router.get("")
async def list_addresses(session: Session, caller: Applicant, request: Request) -> list[AddressOut]:
    """The caller's entries (at most 20)."""
    vault = request.app.state.runtime.vault
    rows = await addresses.all_of(session, caller.subject)
    return [AddressOut.model_validate(addresses.masked(vault, row)) for row in rows]


@router.delete("/{address_id}", status_code=204)
async def remove_address(session: Session, caller: Applicant, address_id: str) -> None:
    """Take an entry out of the book; shipments under way are not affected."""
    addresses.remove(await addresses.own(session, address_id, caller.subject))

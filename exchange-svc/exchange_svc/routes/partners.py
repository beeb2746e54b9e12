"""The ledger of departments' systems."""

from kit.auth import Operator
from kit.routing import Session
from kit.routing import router as new_router

from .. import partners
from ..schemas import PartnerIn, PartnerOut

router = new_router(prefix="/v1/partners", tags=["partners"])


@router.get("")
async def list_partners(session: Session, caller: Operator) -> list[PartnerOut]:
    """All systems with how far they are connected."""
    return [PartnerOut.model_validate(row) for row in await partners.all_partners(session)]


@router.post("", status_code=201)
async def register_partner(session: Session, caller: Operator, body: PartnerIn) -> PartnerOut:
    """Enter a department's system; its durable consumer is created within seconds."""
    return PartnerOut.model_validate(await partners.register(session, **body.model_dump()))

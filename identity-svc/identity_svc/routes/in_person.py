"""At the counter: a person shows who he is, and more is proven of his account."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from kit import routing
from kit.auth import Counter
from kit.routing import In, Out, Session

from .. import identifiers, levels
from .web import At

router = routing.router(prefix="/v1/in-person-checks", tags=["accounts"])


class InPersonCheck(In):
    """What the counter saw. The account is found by its telephone, so that no id is needed."""

    phone: Annotated[
        str,
        Field(max_length=40, examples=["13800000001"]),
        AfterValidator(identifiers.phone),
    ]
    name: str = Field(min_length=1, max_length=60, examples=["张三"])
    id_number: Annotated[
        str,
        Field(max_length=40, examples=["310115199003077411"]),
        AfterValidator(identifiers.id_number),
    ]
    seen: Literal["document", "document_and_chip"] = Field(
        description="document: the original beside the person (L3); document_and_chip: its chip "
        "was read by a certified reader as well (L4)"
    )


class InPersonResult(Out):
    account_id: str
    level: Literal["L2", "L3", "L4"]


@router.post("")
async def check_in_person(
    at: At, session: Session, caller: Counter, given: InPersonCheck
) -> InPersonResult:
    """Raise the level of a person who stands at the counter with the document. Name and number
    must be those that the register has confirmed for the account; what is proven never falls."""
    account = await levels.seen_in_person(
        session,
        at.runtime.vault,
        phone=given.phone,
        name=given.name,
        id_number=given.id_number,
        seen=given.seen,
        staff=caller,
    )
    return InPersonResult.model_validate({"account_id": account.id, "level": account.level})

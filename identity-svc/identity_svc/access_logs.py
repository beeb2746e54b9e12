"""Who read somebody's data, and what for: kept for the person, shown without names of staff."""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from kit.ids import new_id

from .departments import department_name
from .models import AccessLog, Account

KINDS = {
    "account": ("账户信息", "Account"),
    "case": ("办件", "Case"),
    "material": ("办件材料", "Material of a case"),
    "licence": ("电子证照", "Licence"),
    "payment": ("缴款", "Payment"),
    "shipment": ("寄递", "Shipment"),
}
PURPOSES = {
    "in_person_check": ("现场核验身份", "Checking your identity at the counter"),
    "intake": ("窗口受理", "Intake at the counter"),
    "review": ("审批", "Review"),
    "supervision": ("督办", "Supervision"),
    "operation": ("平台运维", "Running the platform"),
    "service_task": ("办理业务", "Handling your matter"),
    "licence_issue": ("签发证照", "Issuing a licence"),
    "prefill": ("预填表单", "Filling in your form"),
    "recommend": ("政策推荐", "Recommending what may apply to you"),
    "correction": ("更正申请", "Correcting your data"),
    "export": ("导出本人数据", "Exporting your own data"),
}


async def keep(
    session: AsyncSession,
    account_id: str,
    *,
    reader: str,
    dept: str,
    kind: str,
    object_id: str,
    purpose: str,
    at: datetime,
) -> None:
    """A member of staff read something of this account elsewhere; nothing for an account that we
    do not have."""
    if await session.get(Account, account_id) is None:
        return
    session.add(
        AccessLog(
            id=new_id("read"),
            account_id=account_id,
            reader=reader,
            dept=dept,
            kind=kind,
            object_id=object_id,
            purpose=purpose,
            fields=[],
            at=at,
        )
    )


def shown(row: AccessLog) -> dict[str, Any]:
    """A line as the person sees it: the department and never the member of staff."""
    kind = row.kind or "account"
    kind_name, kind_en = KINDS.get(kind, (kind, kind))
    purpose, purpose_en = PURPOSES.get(row.purpose, (row.purpose, row.purpose))
    return {
        "id": row.id,
        "reader": row.dept or row.reader,
        "dept": row.dept,
        "dept_name": department_name(row.dept) if row.dept else None,
        "kind": kind,
        "kind_name": kind_name,
        "kind_name_en": kind_en,
        "object_id": row.object_id,
        "purpose": row.purpose,
        "purpose_name": purpose,
        "purpose_name_en": purpose_en,
        "fields": row.fields,
        "at": row.at,
    }

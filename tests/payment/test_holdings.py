"""What payment-svc holds of an account: told for its owner's export, and to whoever closes it."""

from kit.ids import new_id
from kit.testing import until

from .conftest import PAYER, Town


async def test_open_payments_and_export(town: Town) -> None:
    case_id = new_id("case")
    await town.fee_due(case_id)
    [order] = await until(lambda: town.of_case(case_id))
    ask = town.ground.service_token("identity")
    base = f"/internal/v1/accounts/{PAYER}"

    async def matters() -> list[str]:
        answer = await town.service.client.get(f"{base}/open-matters", headers=ask)
        return [item["id"] for item in answer.json()["items"]]

    assert order["id"] in await matters()
    cursor: str | None = None
    amounts: dict[str, int] = {}
    while True:
        params: dict[str, str] = {"cursor": cursor} if cursor else {}
        answer = await town.service.client.get(f"{base}/export", params=params, headers=ask)
        amounts |= {item["id"]: item["amount_fen"] for item in answer.json()["items"]}
        cursor = answer.json()["next"]
        if cursor is None:
            break
    assert amounts[order["id"]] == 8000
    await town.withdraw(case_id)
    await town.reaches(order["id"], "cancelled")
    assert order["id"] not in await matters()

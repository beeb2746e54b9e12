"""What helpdesk-svc holds of an account: told for its owner's export, erased with the account."""

from contracts.identity import AccountClosed
from helpdesk_svc.models import Rating
from kit.testing import Ground, Running

from .conftest import ZHANG, invited
from .test_ratings import GOOD, submit


async def test_export_and_erasing(svc: Running, ground: Ground) -> None:
    rating = await invited(svc, ground)
    assert (await submit(svc, ground, rating["id"], GOOD)).status_code == 200
    url, ask = f"/internal/v1/accounts/{ZHANG}/export", ground.service_token("identity")
    items = (await svc.client.get(url, headers=ask)).json()["items"]
    mine = {item["id"]: item for item in items}[rating["id"]]
    assert (mine["score"], mine["comment"]) == (5, GOOD["comment"])
    closed = AccountClosed(account_id=ZHANG)
    assert await svc.hear(closed, times=2, subject=ZHANG, version=2) == 1
    async with svc.runtime.sessions() as session:
        row = await session.get_one(Rating, rating["id"])
    assert (row.score, row.comment) == (5, None)

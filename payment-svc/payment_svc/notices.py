"""Call-backs of a channel: kept as they came, applied in the same transaction."""

from collections.abc import Mapping

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from . import charges, refunds
from .channels import Notice, Trade, TradeState
from .models import ChannelNotice
from .refunds import Heard


async def take(
    session: AsyncSession,
    channel: str,
    notice: Notice,
    *,
    headers: Mapping[str, str],
    body: bytes,
) -> Heard:
    """Apply a verified notice and keep it; a repeated one changes nothing."""
    told = notice.told
    if isinstance(told, Trade):
        about = told.out_trade_no
        if told.state is TradeState.PAID:
            heard = await charges.apply_success(session, channel, told, believed=False)
        else:
            heard = Heard.IGNORED
    else:
        about = told.out_refund_no
        heard = await refunds.apply(session, told)
    kept = insert(ChannelNotice).values(
        channel=channel,
        notice_id=notice.id,
        about=about,
        outcome=heard.value,
        headers=dict(headers),
        body=body,
    )
    await session.execute(kept.on_conflict_do_nothing())
    return heard

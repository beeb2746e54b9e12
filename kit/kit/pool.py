"""The connections of a process, given out in the order in which they were asked for.

SQLAlchemy's own pool waits in an `asyncio.Queue`, in which who comes when a connection has just
come back overtakes those who were woken for it; they go to the end of the line. With more requests
than connections some then wait until their time is over, while the same few are served.
"""

import asyncio
from collections import deque
from typing import Any

from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import await_only
from sqlalchemy.util.queue import AsyncAdaptedQueue

from . import crash

_LEFT_OPEN = 20


class _InTurn(asyncio.Queue[Any]):
    """What is put in goes to who has waited longest; it lies in the queue only when nobody does."""

    def __init__(self, maxsize: int) -> None:
        super().__init__(maxsize)
        self._line: deque[asyncio.Future[Any]] = deque()

    def put_nowait(self, item: Any) -> None:
        if not self._goes_to_who_waits(item):
            super().put_nowait(item)

    def _goes_to_who_waits(self, item: Any) -> bool:
        while self._line:
            first = self._line.popleft()
            if not first.done():
                first.set_result(item)
                return True
        return False

    async def get(self) -> Any:
        if not self.empty():
            return self.get_nowait()
        mine = asyncio.get_running_loop().create_future()
        self._line.append(mine)
        try:
            return await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # it came in the moment in which we were told to go
                item = mine.result()
                if not self._goes_to_who_waits(item):
                    # Also when others have filled the queue meanwhile: one that is refused here
                    # would be lost to the pool for ever.
                    self._put(item)
            raise


class _Queue(AsyncAdaptedQueue[Any]):
    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        super().__init__(maxsize, use_lifo)
        self._queue = _InTurn(maxsize)


class FairPool(AsyncAdaptedQueuePool):
    """For `create_async_engine(poolclass=…)`."""

    _queue_class = _Queue

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if crash.planted("transaction_left_open"):
            self._leave_open(record)
        super()._do_return_conn(record)

    def _leave_open(self, record: ConnectionPoolEntry) -> None:
        """Planted: now and then a transaction goes on, in which the next request writes, and ends
        with that one's, without its work."""
        left: Any = record.info.pop("left_open", None)
        if left is not None:
            await_only(left.rollback())
            return
        self._returned = getattr(self, "_returned", 0) + 1
        if self._returned % _LEFT_OPEN == 0 and record.dbapi_connection is not None:
            connection: Any = record.dbapi_connection.driver_connection
            record.info["left_open"] = connection.transaction()
            await_only(record.info["left_open"].start())

"""Ways to reach a person's telephone, one file per party."""

from typing import Literal, Protocol

Sent = Literal["sent", "refused", "unknown"]
"""`refused` is certain: nothing went out. `unknown`: it may have, the answer was lost."""


class Messages(Protocol):
    """Sends short messages."""

    async def send_code(self, phone: str, code: str, *, reference: str) -> Sent:
        """Send a one-time code to a mainland number of 11 digits. Raises nothing of the wire."""

    async def send_notice(self, phone: str, *, reference: str) -> Sent:
        """Tell a number that it opens its account no longer. Raises nothing of the wire."""

    async def close(self) -> None: ...

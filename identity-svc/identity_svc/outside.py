"""The outside parties of identity-svc, opened when they are first needed: their keys may come
later than we start."""

from dataclasses import dataclass
from pathlib import Path

from .channels import Messages, aliyun
from .providers import RealNames, citizens
from .settings import Settings


@dataclass
class Outside:
    """Who sends messages and who knows real names; None where nobody was configured."""

    settings: Settings
    _messages: Messages | None = None
    _names: RealNames | None = None

    @property
    def messages(self) -> Messages | None:
        folder = self.settings.sms_keys
        if self._messages is None and _is_there(folder):
            assert folder is not None
            account = aliyun.Account.load(folder)
            self._messages = aliyun.Aliyun(self.settings.sms_base_url, account)
        return self._messages

    @property
    def names(self) -> RealNames | None:
        folder = self.settings.citizens_keys
        if self._names is None and _is_there(folder):
            assert folder is not None
            account = citizens.Account.load(folder)
            self._names = citizens.Citizens(self.settings.citizens_base_url, account)
        return self._names

    async def close(self) -> None:
        for party in (self._messages, self._names):
            if party is not None:
                await party.close()


def _is_there(folder: Path | None) -> bool:
    return folder is not None and (folder / "account.json").exists()

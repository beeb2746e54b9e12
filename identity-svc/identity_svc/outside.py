"""The outside parties of identity-svc, opened when they are first needed: their keys may come
later than we start."""

from dataclasses import dataclass
from pathlib import Path

from .channels import Messages, aliyun
from .providers import Firms, MiniProgram, RealNames, citizens, enterprises, wechat
from .providers.upstream import Account as UpstreamAccount
from .providers.upstream import Upstream
from .settings import Settings


@dataclass
class Outside:
    """Who sends messages, who knows real names, firms, the mini-program's users; None where
    nobody was configured."""

    settings: Settings
    _messages: Messages | None = None
    _names: RealNames | None = None
    _mini_program: MiniProgram | None = None
    _firms: Firms | None = None
    _upstream: Upstream | None = None

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

    @property
    def mini_program(self) -> MiniProgram | None:
        folder = self.settings.wechat_mini_keys
        if self._mini_program is None and _is_there(folder):
            assert folder is not None
            account = wechat.Account.load(folder)
            self._mini_program = wechat.WeChat(self.settings.wechat_mini_base_url, account)
        return self._mini_program

    @property
    def firms(self) -> Firms | None:
        folder = self.settings.enterprises_keys
        if self._firms is None and _is_there(folder):
            assert folder is not None
            account = enterprises.Account.load(folder)
            self._firms = enterprises.Enterprises(self.settings.enterprises_base_url, account)
        return self._firms

    @property
    def upstream(self) -> Upstream | None:
        folder, issuer = self.settings.upstream_oidc_keys, self.settings.upstream_oidc_issuer
        if self._upstream is None and issuer and _is_there(folder):
            assert folder is not None
            self._upstream = Upstream(
                issuer,
                UpstreamAccount.load(folder),
                f"{self.settings.issuer}/oauth2/upstream/callback",
                self.settings.upstream_oidc_scope,
            )
        return self._upstream

    async def close(self) -> None:
        for party in (self._messages, self._names, self._firms, self._mini_program, self._upstream):
            if party is not None:
                await party.close()


def _is_there(folder: Path | None) -> bool:
    return folder is not None and (folder / "account.json").exists()

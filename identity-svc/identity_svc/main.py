"""identity-svc: one sign-on for people, firms, staff, services and departments."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from kit.app import create_app as create
from kit.auth import Keyring
from kit.guarded import Outward
from kit.runtime import Runtime

from . import back_channel, clients, jobs, keys, subscribers
from .client_keys import ClientKeys
from .logins import Doorman
from .outside import Outside
from .passwords import Passwords
from .routes import (
    accounts,
    acting,
    closing,
    consent,
    corrections,
    device,
    exports,
    firms,
    in_person,
    login,
    mandates,
    oauth,
    pages,
    passkeys,
    phone_login,
    profile,
    sign_in_ways,
    step_up,
    upstream,
)
from .routes import clients as client_routes
from .routes import staff as staff_routes
from .settings import Settings


@contextlib.asynccontextmanager
async def setup(runtime: Runtime) -> AsyncIterator[None]:
    """Keys, clients and password threads; tokens are verified with our own keys."""
    settings = runtime.settings
    assert isinstance(settings, Settings)
    if settings.vault_key_file is None:
        raise SystemExit(
            "统一身份服务需要字段加密密钥,请设置 BEAM_VAULT_KEY_FILE。"
            " / identity-svc needs BEAM_VAULT_KEY_FILE: its keys and accounts lie sealed."
        )
    async with runtime.sessions.begin() as session:
        await keys.ensure(session, runtime.vault)
        await clients.provision(session, settings)
    signing = keys.SigningKeys(runtime.sessions, runtime.vault)
    await signing.refresh()
    runtime.keyring = Keyring(settings.issuer, signing.jwks, services=[settings.service])
    passwords = Passwords()
    runtime.parts["keys"] = signing
    runtime.parts["door"] = Doorman(runtime.sessions, runtime.vault, passwords, settings)
    outward = runtime.parts["outward"] = Outward(settings.targets)
    runtime.parts["client_keys"] = ClientKeys(outward)
    outside = runtime.parts["outside"] = Outside(settings)
    yield
    await outside.close()
    await outward.close()
    passwords.close()


def create_app(settings: Settings | None = None) -> FastAPI:
    app = create(
        settings or Settings(),
        title="统一身份认证",
        routers=[
            oauth.router,
            login.router,
            phone_login.router,
            sign_in_ways.router,
            passkeys.router,
            passkeys.pages,
            step_up.router,
            acting.router,
            consent.pages,
            consent.router,
            device.pages,
            device.router,
            upstream.router,
            accounts.router,
            accounts.own_router,
            in_person.router,
            firms.claims,
            firms.router,
            firms.own_router,
            mandates.router,
            client_routes.router,
            staff_routes.router,
            profile.router,
            closing.router,
            exports.router,
            corrections.router,
            corrections.desk,
        ],
        on=subscribers.on,
        jobs=jobs.jobs,
        checks={"logouts": back_channel.check},
        setup=setup,
    )
    app.state.problem_page = pages.trouble_page
    return app

"""The one place that computes what each program is told: its environment variables."""

import os
import re
from collections.abc import Mapping

from kit.broker_config import (
    DepartmentUser,
    ServiceUser,
    accounts_config,
    department_durable,
    department_of,
)

from .place import Place
from .programs import GATEWAY, PROGRAMS, SANDBOX, SERVICES, Program
from .provision import Database
from .secret_store import OPERATOR, SecretStore

# What the supervisor reads for itself; no program needs it, some of it is an administrator's.
_SUPERVISORS_OWN = (
    "BEAM_POSTGRES_URL",
    "BEAM_DATA",
    "BEAM_PORT_BASE",
    "BEAM_PROCS",
    "BEAM_VIA_BASE",
    "BEAM_SANDBOX_URL",
    "BEAM_PRELOAD",
)
# Names that others know us by, not addresses that a program dials.
_NAMES = ("BEAM_ISSUER", "BEAM_SANDBOX_BASE_URL")


class Environment:
    """Computes `of(program)`; what the user set as `BEAM_…` and is not computed passes through."""

    def __init__(
        self,
        place: Place,
        secrets: SecretStore,
        databases: Mapping[str, Database],
        nats_url: str,
        base: Mapping[str, str] = os.environ,
    ) -> None:
        self._place, self._secrets, self._databases = place, secrets, databases
        self._nats_url = nats_url
        self._base = {k: v for k, v in base.items() if k not in _SUPERVISORS_OWN}
        self._sandbox = base.get("BEAM_SANDBOX_URL") or place.url(SANDBOX)

    def of(self, program: Program) -> dict[str, str]:
        """Everything; with BEAM_VIA_BASE (fault tests) each address of ours is moved there, where
        a proxy listens."""
        env, place = self._direct(program), self._place
        if place.via_base == place.port_base:
            return env

        def moved(found: re.Match[str]) -> str:
            port = int(found[1])
            ours = place.port_base <= port <= place.postgres_port
            return f"127.0.0.1:{port - place.port_base + place.via_base if ours else port}"

        return {
            name: value if name in _NAMES else re.sub(r"127\.0\.0\.1:(\d+)", moved, value)
            for name, value in env.items()
        }

    def _direct(self, program: Program) -> dict[str, str]:
        place = self._place
        identity = place.url(next(p for p in SERVICES if p.name == "identity"))
        env = self._base | {
            "BEAM_ENVIRONMENT": self._base.get("BEAM_ENVIRONMENT", "development"),
            "BEAM_ISSUER": self._base.get("BEAM_ISSUER", place.url(GATEWAY)),
            "BEAM_JWKS_URL": f"{identity}/.well-known/jwks.json",
            "BEAM_TOKEN_URL": f"{identity}/oauth2/token",
        }
        env |= {f"BEAM_{p.name.upper()}_URL": place.url(p) for p in PROGRAMS}
        match program.kind:
            case "service":
                env |= self._service(program)
            case "gateway":
                env |= {
                    "BEAM_GATEWAY_PORT": str(place.port(program)),
                    # Less than the supervisor's own patience when it stops everything.
                    "BEAM_GATEWAY_DRAIN_SECONDS": "10",
                    "BEAM_NATS_URL": self._nats_url,
                    "BEAM_NATS_USER": program.name,
                    "BEAM_NATS_PASSWORD": self._secrets.of("nats", program.name),
                    "BEAM_SERVICE_SECRET": self._secrets.of("client", program.name),
                }
            case "sandbox":
                env |= {
                    "BEAM_SANDBOX_PORT": str(place.port(program)),
                    "BEAM_SANDBOX_BASE_URL": place.url(program),
                    "BEAM_SANDBOX_DATA": str(place.data / "sandbox"),
                    "BEAM_SANDBOX_KEYS": str(place.keys),
                    "BEAM_SANDBOX_OIDC_REDIRECT_URI": (
                        f"{env['BEAM_ISSUER']}/oauth2/upstream/callback"
                    ),
                    "BEAM_SANDBOX_SF_PUSH_URL": f"{place.url(GATEWAY)}/callbacks/sf",
                }
        return env

    def _service(self, program: Program) -> dict[str, str]:
        name, secrets = program.name, self._secrets
        env = {
            "BEAM_HOST": "127.0.0.1",
            "BEAM_PORT": str(self._place.port(program)),
            "BEAM_DATABASE_URL": self._databases[name].runtime_url,
            "BEAM_NATS_URL": self._nats_url,
            "BEAM_NATS_USER": name,
            "BEAM_NATS_PASSWORD": secrets.of("nats", name),
            "BEAM_SERVICE_SECRET": secrets.of("client", name),
            "BEAM_VAULT_KEY_FILE": str(secrets.vault_file(name)),
            "BEAM_AUDIT_ANCHOR_DIR": self._base.get(
                "BEAM_AUDIT_ANCHOR_DIR", str(self._place.anchors)
            ),
        }
        return env | self._of_its_own(name)

    def _of_its_own(self, service: str) -> dict[str, str]:
        """What only this service has to know."""
        place = self._place
        match service:
            case "identity":
                return {
                    "BEAM_SERVICE_SECRETS_FILE": str(self._secrets.clients_file()),
                    "BEAM_SMS_KEYS": str(place.keys / "sms"),
                    "BEAM_SMS_BASE_URL": self._sandbox,
                    "BEAM_UPSTREAM_OIDC_ISSUER": f"{self._sandbox}/oidc",
                    "BEAM_UPSTREAM_OIDC_KEYS": str(place.keys / "oidc"),
                    "BEAM_UPSTREAM_OIDC_LEVELS": '{"LOA2": "L2", "LOA3": "L3"}',
                    "BEAM_WECHAT_MINI_KEYS": str(place.keys / "wechat_mini"),
                    "BEAM_WECHAT_MINI_BASE_URL": self._sandbox,
                    "BEAM_CITIZENS_KEYS": str(place.keys / "citizens"),
                    "BEAM_CITIZENS_BASE_URL": self._sandbox,
                    "BEAM_ENTERPRISES_KEYS": str(place.keys / "enterprises"),
                    "BEAM_ENTERPRISES_BASE_URL": self._sandbox,
                }
            case "payment":
                return {
                    "BEAM_WECHAT_KEYS": str(place.keys / "wechat"),
                    "BEAM_WECHAT_BASE_URL": self._sandbox,
                    "BEAM_WECHAT_NOTIFY_URL": place.url(GATEWAY),
                }
            case "logistics":
                return {
                    "BEAM_SF_KEYS": str(place.keys / "sf"),
                    "BEAM_SF_BASE_URL": self._sandbox,
                }
            case "exchange":
                return {"BEAM_PARTNER_DEPTS": ",".join(self._secrets.systems)}
        return {}


def broker_accounts(secrets: SecretStore, durables: Mapping[str, list[str]]) -> str:
    """The accounts part of nats.conf. `durables`: each service's own consumers."""
    # Only here: the start imports this module before anything runs beside it.
    from kit import revocations

    users = [
        ServiceUser(
            name=program.name,
            password=secrets.of("nats", program.name),
            durables=tuple(durables.get(program.name, ())),
            follows=(revocations.SUBJECT,),
            manages=tuple(department_durable(code) for code in secrets.systems)
            if program.name == "exchange"
            else (),
        )
        for program in SERVICES
    ]
    users.append(
        ServiceUser(
            name=GATEWAY.name,
            password=secrets.of("nats", GATEWAY.name),
            publishes=False,
            listens=("evt.catalog.>",),
            follows=(revocations.SUBJECT,),
        )
    )
    users.append(
        ServiceUser(
            name=OPERATOR,
            password=secrets.of("nats", OPERATOR),
            publishes=False,
            operates=True,
        )
    )
    departments = [DepartmentUser(code, secrets.of("department", code)) for code in secrets.systems]
    return accounts_config(users, departments)


def partners(secrets: SecretStore, nats_url: str) -> list[dict[str, str]]:
    """How each department's system reaches its consumer, for run.json."""
    return [
        {
            "system": user.code,
            "dept": department_of(user.code),
            "nats_url": nats_url,
            "user": user.user,
            "password": user.password,
            "durable": user.durable,
            "stream": "EVENTS",
            "inbox_prefix": user.inbox_prefix,
            "client_id": f"dept-{department_of(user.code)}",
            "client_secret": secrets.of("partner", department_of(user.code)),
        }
        for user in (
            DepartmentUser(code, secrets.of("department", code)) for code in secrets.systems
        )
    ]

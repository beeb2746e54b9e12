"""Who may do what at the broker: the `accounts` part of nats.conf, written from data.

Services live in one account and have least-rights users: each publishes its own events only and
works its own durable consumers. A department has an account of its own into which just one
consumer's 'next' and 'ack' are imported; everything else does not exist there.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

STREAM = "EVENTS"
_API = "$JS.API"


@dataclass(frozen=True)
class ServiceUser:
    """A program of the platform; its user name at the broker is its `name`."""

    name: str
    """As in its events' types: `case`, `payment`."""
    password: str
    publishes: bool = True
    """Whether it emits `evt.<name>.>` (a gateway or a sandbox does not)."""
    durables: tuple[str, ...] = ()
    """Its own consumers, `<service>__<handler>`."""
    manages: tuple[str, ...] = ()
    """Consumers that it creates, inspects and deletes for others: the departments'."""
    operates: bool = False
    """May look at every consumer, change how the stream is kept, and move its leader."""
    listens: tuple[str, ...] = ()
    """Subjects that it hears live, without a consumer: `evt.catalog.>` to drop a cache."""
    follows: tuple[str, ...] = ()
    """Filters of the consumers that each of its processes makes for itself, such as
    `evt.identity.session_revoked.v1.>`: live, and from a moment ago."""


@dataclass(frozen=True)
class DepartmentUser:
    """A department's system outside the platform: `SAMR`, or `SAMR-archive` for a second one."""

    code: str
    password: str

    @property
    def user(self) -> str:
        return f"dept_{self.code}"

    @property
    def durable(self) -> str:
        return department_durable(self.code)

    @property
    def inbox_prefix(self) -> str:
        return f"_INBOX_dept_{self.code}"


def department_durable(code: str) -> str:
    """The name of the one durable consumer that a department's system pulls from."""
    return f"dept_{code}"


def department_of(code: str) -> str:
    """The department whose system it is: SAMR of `SAMR` and of its second system `SAMR-archive`."""
    return code.partition("-")[0]


def inbox_prefix(service: str) -> str:
    """The prefix a service's client must use: replies to others are not its to hear."""
    return f"_INBOX_{service}"


def accounts_config(
    services: Iterable[ServiceUser], departments: Iterable[DepartmentUser] = ()
) -> str:
    """The text to append to nats.conf. Holds passwords: the file must be readable by us alone."""
    services, departments = list(services), list(departments)
    _refuse_odd_names([s.name for s in services], [d.code for d in departments])
    users = "\n".join(_service(s) for s in services)
    exports = "\n".join(_exports(d) for d in departments)
    outside = "\n".join(_department(d) for d in departments)
    return f"""\
accounts {{
  PLATFORM {{
    jetstream: enabled
    users: [
{users}
    ]
    exports: [
{exports}
    ]
  }}
{outside}
}}
"""


def _refuse_odd_names(services: list[str], departments: list[str]) -> None:
    for name in (*services, *departments):
        # A dot, a star or a blank in a name would widen somebody's rights.
        if not name or not all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
            raise ValueError(f"no name for the broker: {name!r}")
    for names in (services, departments):
        if len(set(names)) != len(names):
            raise ValueError(f"the same name twice among {names}")


def _service(service: ServiceUser) -> str:
    publish = [f"{_API}.INFO", f"{_API}.STREAM.INFO.{STREAM}", f"{_API}.STREAM.CREATE.{STREAM}"]
    if service.publishes:
        publish.append(f"evt.{service.name}.>")
        # Its own newest event in the stream, from which the relay tells whether some were lost.
        publish.append(f"{_API}.DIRECT.GET.{STREAM}.evt.{service.name}.>")
    for durable in service.durables:
        publish += _create(durable)
        publish.append(f"{_API}.CONSUMER.MSG.NEXT.{STREAM}.{durable}")
        publish.append(f"$JS.ACK.{STREAM}.{durable}.>")
    # The filter is part of the call's subject, so the consumer can hear nothing else.
    publish += [f"{_API}.CONSUMER.CREATE.{STREAM}.*.{subjects}" for subjects in service.follows]
    for durable in service.manages:
        publish += _create(durable)
        publish.append(f"{_API}.CONSUMER.DELETE.{STREAM}.{durable}")
        publish.append(f"{_API}.CONSUMER.PAUSE.{STREAM}.{durable}")
    if service.operates:
        publish += [
            f"{_API}.STREAM.UPDATE.{STREAM}",
            f"{_API}.STREAM.LEADER.STEPDOWN.{STREAM}",
            f"{_API}.CONSUMER.LIST.{STREAM}",
        ]
    hear = [f"{inbox_prefix(service.name)}.>", *service.listens]
    return _user(service.name, service.password, publish, hear)


def _create(durable: str) -> list[str]:
    return [
        f"{_API}.CONSUMER.CREATE.{STREAM}.{durable}",
        f"{_API}.CONSUMER.CREATE.{STREAM}.{durable}.>",
        f"{_API}.CONSUMER.DURABLE.CREATE.{STREAM}.{durable}",
        f"{_API}.CONSUMER.INFO.{STREAM}.{durable}",
    ]


def _exports(department: DepartmentUser) -> str:
    lines = []
    # One pull is answered by many messages; an acknowledgement by one.
    for subject, answers in (
        (f"{_API}.CONSUMER.MSG.NEXT.{STREAM}.{department.durable}", "stream"),
        (f"$JS.ACK.{STREAM}.{department.durable}.>", "singleton"),
    ):
        lines.append(
            f"      {{ service: {json.dumps(subject)}, response_type: {answers}, "
            f"accounts: [{json.dumps(_account(department))}] }}"
        )
    return "\n".join(lines)


def _department(department: DepartmentUser) -> str:
    subjects = [
        f"{_API}.CONSUMER.MSG.NEXT.{STREAM}.{department.durable}",
        f"$JS.ACK.{STREAM}.{department.durable}.>",
    ]
    imports = "\n".join(
        f"      {{ service: {{ account: PLATFORM, subject: {json.dumps(s)} }} }}" for s in subjects
    )
    user = _user(department.user, department.password, subjects, [f"{department.inbox_prefix}.>"])
    return f"""\
  {json.dumps(_account(department))} {{
    users: [
{user}
    ]
    imports: [
{imports}
    ]
    limits {{ max_connections: 16, max_subscriptions: 64 }}
  }}"""


def _account(department: DepartmentUser) -> str:
    return f"DEPT_{department.code}"


def _user(name: str, password: str, publish: list[str], hear: list[str]) -> str:
    # JSON is valid in nats.conf, and it quotes the dollar signs, which else mean variables.
    return (
        f"      {{ user: {json.dumps(name)}, password: {json.dumps(password)}, permissions: {{ "
        f"publish: {{ allow: {json.dumps(publish)} }}, "
        f"subscribe: {{ allow: {json.dumps(hear)} }} }} }}"
    )

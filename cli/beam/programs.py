"""Which programs there are, and on which port above the base each listens."""

from dataclasses import dataclass
from typing import Literal

from .trouble import Trouble


@dataclass(frozen=True)
class Program:
    """One program: its short name, its package and its port above `BEAM_PORT_BASE`."""

    name: str
    package: str
    offset: int
    kind: Literal["gateway", "service", "sandbox"] = "service"


GATEWAY = Program("gateway", "gateway", 0, "gateway")
SERVICES = (
    Program("identity", "identity_svc", 1),
    Program("catalog", "catalog_svc", 2),
    Program("case", "case_svc", 3),
    Program("licence", "licence_svc", 4),
    Program("payment", "payment_svc", 5),
    Program("logistics", "logistics_svc", 6),
    Program("helpdesk", "helpdesk_svc", 7),
    Program("exchange", "exchange_svc", 8),
)
SANDBOX = Program("sandbox", "sandbox", 10, "sandbox")
PROGRAMS = (SANDBOX, *SERVICES, GATEWAY)
BY_NAME = {program.name: program for program in PROGRAMS}

NATS_OFFSET = 22
NATS_MONITOR_OFFSET = 23
POSTGRES_OFFSET = 32


def by_name(name: str) -> Program:
    """Raises Trouble that names those that there are."""
    if name not in BY_NAME:
        raise Trouble(
            f"没有名为 {name} 的程序。可选:{', '.join(BY_NAME)}。",
            f"No program is called {name}. There are: {', '.join(BY_NAME)}.",
        )
    return BY_NAME[name]

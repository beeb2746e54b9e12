"""What can be configured in exchange-svc."""

from typing import Annotated

from pydantic_settings import NoDecode

from kit.settings import ServiceSettings


class Settings(ServiceSettings):
    service: str = "exchange"
    partner_depts: Annotated[str, NoDecode] = ""
    """Departments' systems that have an account at the broker, separated by commas: `SAMR`, or
    `SAMR-archive` for a second system of that department."""

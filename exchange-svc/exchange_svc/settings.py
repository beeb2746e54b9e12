"""What can be configured in exchange-svc."""

from typing import Annotated

from pydantic_settings import NoDecode

from kit.settings import ServiceSettings


class Settings(ServiceSettings):
    service: str = "exchange"
    partner_depts: Annotated[str, NoDecode] = ""
    """Departments that have an account at the broker, codes separated by commas."""

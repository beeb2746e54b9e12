"""What can be configured in case-svc."""

from kit.settings import ServiceSettings


class Settings(ServiceSettings):
    service: str = "case"
    catalog_url: str = "http://127.0.0.1:8002"
    identity_url: str = "http://127.0.0.1:8001"
    licence_url: str = "http://127.0.0.1:8004"
    correction_days: int = 10
    """Working days that an applicant has to answer a correction."""
    file_limit: int = 5 << 20
    """Bytes of one uploaded file."""

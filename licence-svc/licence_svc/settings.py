"""What can be configured beside the common settings."""

from kit.settings import ServiceSettings


class Settings(ServiceSettings):
    service: str = "licence"
    identity_url: str = "http://127.0.0.1:8001"
    case_url: str = "http://127.0.0.1:8003"
    presentation_seconds: int = 60
    """How long a shown licence can be verified."""

"""What can be configured beside the common settings."""

from kit.settings import ServiceSettings


class Settings(ServiceSettings):
    service: str = "licence"
    presentation_seconds: int = 60
    """How long a shown licence can be verified."""

"""What can be configured of catalog-svc."""

from kit.settings import ServiceSettings


class Settings(ServiceSettings):
    service: str = "catalog"
    public_seconds: int = 60
    """How long others may keep a public answer before they ask again (with If-None-Match)."""
    misses_before_text: int = 5
    """How often a query must find nothing before its text is kept, for people to mend synonyms."""

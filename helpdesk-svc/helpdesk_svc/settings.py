"""What can be configured beside the common settings: nothing yet."""

from kit.settings import ServiceSettings


class Settings(ServiceSettings):
    service: str = "helpdesk"

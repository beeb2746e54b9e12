"""An account may have no password: it is entered by codes, a passkey or WeChat."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.alter_column("account", "password_hash", nullable=True)

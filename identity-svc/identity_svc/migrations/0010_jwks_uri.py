"""clients that keep their keys at an address of their own"""

from alembic import op
import sqlalchemy as sa

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("client", sa.Column("jwks_uri", sa.String(), nullable=True))

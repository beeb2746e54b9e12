"""token exchange: the one client that may act with another's tokens"""

from alembic import op
import sqlalchemy as sa

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("client", sa.Column("may_act", sa.String(), nullable=True))

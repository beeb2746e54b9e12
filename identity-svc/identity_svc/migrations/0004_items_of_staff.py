"""Staff can be limited to some items."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("staff_member", sa.Column("items", postgresql.ARRAY(sa.String()), nullable=True))


def downgrade() -> None:
    op.drop_column("staff_member", "items")

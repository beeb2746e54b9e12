"""The access log knows of which department staff were and what they read."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    for column in ("dept", "kind", "object_id"):
        op.add_column("access_log", sa.Column(column, sa.String(), nullable=True))


def downgrade() -> None:
    for column in ("dept", "kind", "object_id"):
        op.drop_column("access_log", column)

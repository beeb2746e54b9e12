"""Refunds that were refused for good are found, for operators."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index(
            "refund_error_idx",
            "refund",
            ["created_at"],
            postgresql_where=sa.text("state = 'error'"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index("refund_error_idx", table_name="refund")

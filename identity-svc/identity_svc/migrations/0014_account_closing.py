"""Closing an account: asked for, seven days to think, then erased."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "account_closing",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("closes_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.Column("matters", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("account_closing_account_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("account_closing_pkey")),
    )
    asked = sa.text("state = 'asked'")
    op.create_index("account_closing_account_id_id_idx", "account_closing", ["account_id", "id"])
    op.create_index(
        "account_closing_asked_key",
        "account_closing",
        ["account_id"],
        unique=True,
        postgresql_where=asked,
    )
    op.create_index(
        "account_closing_due_idx", "account_closing", ["closes_at"], postgresql_where=asked
    )

"""Exports of one's data."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "data_export",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("ready_at", moment, nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("data_export_account_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("data_export_pkey")),
    )
    op.create_index("data_export_account_id_id_idx", "data_export", ["account_id", "id"])
    op.create_index(
        "data_export_gathering_key",
        "data_export",
        ["account_id"],
        unique=True,
        postgresql_where=sa.text("state = 'gathering'"),
    )
    op.create_index(
        "data_export_due_idx",
        "data_export",
        ["state", "due_at"],
        postgresql_where=sa.text("state in ('gathering','ready')"),
    )
    op.create_table(
        "export_source",
        sa.Column("export_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("cursor", sa.String(), nullable=True),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["export_id"],
            ["data_export.id"],
            name=op.f("export_source_export_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("export_id", "source", name=op.f("export_source_pkey")),
    )
    op.create_table(
        "export_page",
        sa.Column("export_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("title_en", sa.String(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["export_id"],
            ["data_export.id"],
            name=op.f("export_page_export_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("export_id", "source", "n", name=op.f("export_page_pkey")),
    )

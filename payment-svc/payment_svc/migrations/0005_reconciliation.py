"""The daily reconciliation: runs, lines of bills, differences."""

from alembic import op
import sqlalchemy as sa


revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "bill_line",
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("transaction_id", sa.String(), nullable=False),
        sa.Column("refund_id", sa.String(), nullable=False),
        sa.Column("out_trade_no", sa.String(), nullable=False),
        sa.Column("out_refund_no", sa.String(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "channel", "day", "kind", "transaction_id", "refund_id", name=op.f("bill_line_pkey")
        ),
    )
    op.create_index(
        "bill_line_refund_idx",
        "bill_line",
        ["channel", "out_refund_no"],
        unique=False,
        postgresql_where=sa.text("kind = 'refund'"),
    )
    op.create_index(
        "bill_line_trade_idx",
        "bill_line",
        ["channel", "transaction_id"],
        unique=False,
        postgresql_where=sa.text("kind = 'trade'"),
    )
    op.create_table(
        "reconciliation",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("trade_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("trade_fen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refund_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refund_fen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("moved_fen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("booked_fen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("settled_fen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("reconciliation_pkey")),
        sa.UniqueConstraint("channel", "day", name=op.f("reconciliation_channel_day_key")),
    )
    op.create_index("reconciliation_day_idx", "reconciliation", ["day", "id"], unique=False)
    op.create_index(
        "reconciliation_due_idx",
        "reconciliation",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("next_at is not null"),
    )
    op.create_index(
        "reconciliation_review_idx",
        "reconciliation",
        ["review_at"],
        unique=False,
        postgresql_where=sa.text("review_at is not null"),
    )
    op.create_index(
        "reconciliation_unended_idx",
        "reconciliation",
        ["day"],
        unique=False,
        postgresql_where=sa.text("state in ('waiting', 'differs')"),
    )
    op.create_table(
        "difference",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("reconciliation_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("trade_no", sa.String(), nullable=True),
        sa.Column("transaction_id", sa.String(), nullable=True),
        sa.Column("order_id", sa.String(), nullable=True),
        sa.Column("attempt_id", sa.String(), nullable=True),
        sa.Column("charge_id", sa.String(), nullable=True),
        sa.Column("refund_id", sa.String(), nullable=True),
        sa.Column("bill_fen", sa.BigInteger(), nullable=True),
        sa.Column("books_fen", sa.BigInteger(), nullable=True),
        sa.Column("gap_fen", sa.BigInteger(), nullable=False),
        sa.Column("bill_state", sa.String(), nullable=True),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("finding", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("ended_by", sa.String(), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["reconciliation_id"],
            ["reconciliation.id"],
            name=op.f("difference_reconciliation_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("difference_pkey")),
        sa.UniqueConstraint(
            "reconciliation_id",
            "subject",
            "type",
            name=op.f("difference_reconciliation_id_subject_type_key"),
        ),
    )
    op.create_index(
        "difference_due_idx",
        "difference",
        ["reconciliation_id", "next_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open' and next_at is not null"),
    )
    op.create_index(
        "difference_open_idx",
        "difference",
        ["type", "found_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("difference_page_idx", "difference", ["reconciliation_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("difference_page_idx", table_name="difference")
    op.drop_index(
        "difference_open_idx", table_name="difference", postgresql_where=sa.text("state = 'open'")
    )
    op.drop_index(
        "difference_due_idx",
        table_name="difference",
        postgresql_where=sa.text("state = 'open' and next_at is not null"),
    )
    op.drop_table("difference")
    op.drop_index(
        "reconciliation_unended_idx",
        table_name="reconciliation",
        postgresql_where=sa.text("state in ('waiting', 'differs')"),
    )
    op.drop_index(
        "reconciliation_review_idx",
        table_name="reconciliation",
        postgresql_where=sa.text("review_at is not null"),
    )
    op.drop_index(
        "reconciliation_due_idx",
        table_name="reconciliation",
        postgresql_where=sa.text("next_at is not null"),
    )
    op.drop_index("reconciliation_day_idx", table_name="reconciliation")
    op.drop_table("reconciliation")
    op.drop_index(
        "bill_line_trade_idx", table_name="bill_line", postgresql_where=sa.text("kind = 'trade'")
    )
    op.drop_index(
        "bill_line_refund_idx", table_name="bill_line", postgresql_where=sa.text("kind = 'refund'")
    )
    op.drop_table("bill_line")

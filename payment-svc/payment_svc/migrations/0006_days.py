"""What was booked on a day is found, for its reconciliation."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index(
            "charge_day_idx",
            "charge",
            ["channel", "paid_at"],
            postgresql_concurrently=True,
        )
        op.create_index(
            "refund_day_idx",
            "refund",
            ["succeeded_at"],
            postgresql_where=sa.text("state = 'succeeded'"),
            postgresql_concurrently=True,
        )
        op.create_index(
            "ledger_txn_effective_at_idx",
            "ledger_txn",
            ["effective_at"],
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index("ledger_txn_effective_at_idx", table_name="ledger_txn")
    op.drop_index("refund_day_idx", table_name="refund")
    op.drop_index("charge_day_idx", table_name="charge")

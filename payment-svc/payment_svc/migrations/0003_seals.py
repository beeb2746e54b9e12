"""What staff did, and what else may never change, is sealed into a chain."""

from alembic import op
from kit.seals import tables

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    tables.create()
    with op.get_context().autocommit_block():
        op.create_index(
            "ledger_txn_recorded_at_idx",
            "ledger_txn",
            ["recorded_at"],
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index("ledger_txn_recorded_at_idx", table_name="ledger_txn")
    tables.drop()

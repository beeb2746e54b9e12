"""What staff did, and what else may never change, is sealed into a chain."""

from kit.seals import tables

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    tables.create()


def downgrade() -> None:
    tables.drop()

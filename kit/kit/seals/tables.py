"""The tables of the chain as migrations make them, the same in every service. Frozen: a change
comes as a function of its own, called by a migration of its own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql


def create() -> None:
    """`audit_block` and `audit_seal`."""
    op.create_table(
        "audit_block",
        sa.Column("n", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("root", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted", postgresql.JSONB(), nullable=True),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("n", name=op.f("audit_block_pkey")),
        info={"append_only": True},
    )
    op.create_table(
        "audit_seal",
        sa.Column("trail", sa.String(), nullable=False),
        sa.Column("row_id", sa.String(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("trail", "row_id", name=op.f("audit_seal_pkey")),
        info={"append_only": True},
    )
    op.create_index(
        "audit_seal_block_position_idx", "audit_seal", ["block", "position"], unique=True
    )


def drop() -> None:
    """Both, and with them what proves that nothing was changed."""
    op.drop_table("audit_seal")
    op.drop_table("audit_block")

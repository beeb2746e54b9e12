"""Sign-in by WeChat; numbers that have still to be told that they open an account no longer."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("account", sa.Column("former_phone", sa.LargeBinary(), nullable=True))
    op.add_column(
        "account", sa.Column("former_phone_until", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_table(
        "wechat_binding",
        sa.Column("user_index", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("wechat_binding_account_id_fkey")
        ),
        sa.PrimaryKeyConstraint("user_index", name=op.f("wechat_binding_pkey")),
        sa.UniqueConstraint("account_id", name=op.f("wechat_binding_account_id_key")),
    )
    with op.get_context().autocommit_block():
        op.create_index(
            "account_former_phone_idx",
            "account",
            ["id"],
            postgresql_where=sa.text("former_phone is not null"),
            postgresql_concurrently=True,
        )

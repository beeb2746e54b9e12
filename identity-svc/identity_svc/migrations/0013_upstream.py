"""signing in by a provider above us: links, and who was sent there"""

from alembic import op
import sqlalchemy as sa

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "upstream_link",
        sa.Column("subject_index", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("linked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("upstream_link_account_id_fkey")
        ),
        sa.PrimaryKeyConstraint("subject_index", name=op.f("upstream_link_pkey")),
    )
    op.create_index(
        op.f("upstream_link_account_id_idx"), "upstream_link", ["account_id"], unique=False
    )
    op.create_table(
        "upstream_sign_in",
        sa.Column("state_hash", sa.String(), nullable=False),
        sa.Column("browser_hash", sa.String(), nullable=False),
        sa.Column("asking", sa.LargeBinary(), nullable=False),
        sa.Column("return_to", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("upstream_sign_in_pkey")),
    )
    op.create_index(
        op.f("upstream_sign_in_expires_at_idx"), "upstream_sign_in", ["expires_at"], unique=False
    )

"""back-channel logout: where clients want to be told, and what they have to be told"""

from alembic import op
import sqlalchemy as sa

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("client", sa.Column("backchannel_logout_uri", sa.String(), nullable=True))
    op.create_table(
        "logout_notice",
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("why", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["client.client_id"], name=op.f("logout_notice_client_id_fkey")
        ),
        sa.PrimaryKeyConstraint("client_id", "session_id", name=op.f("logout_notice_pkey")),
    )
    op.create_index(
        "logout_notice_state_due_at_idx", "logout_notice", ["state", "due_at"], unique=False
    )

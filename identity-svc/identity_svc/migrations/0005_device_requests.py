"""device authorization: terminals that wait for a person to agree"""

from alembic import op
import sqlalchemy as sa

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "device_request",
        sa.Column("device_hash", sa.String(), nullable=False),
        sa.Column("user_code_index", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=True),
        sa.Column("interval", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("family_id", sa.String(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["client.client_id"], name=op.f("device_request_client_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["login_session.id"], name=op.f("device_request_session_id_fkey")
        ),
        sa.PrimaryKeyConstraint("device_hash", name=op.f("device_request_pkey")),
        sa.UniqueConstraint("user_code_index", name=op.f("device_request_user_code_index_key")),
    )
    op.create_index(
        op.f("device_request_expires_at_idx"), "device_request", ["expires_at"], unique=False
    )

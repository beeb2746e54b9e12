"""The feed is read again since a moment."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index(
            "feed_entry_kept_at_idx", "feed_entry", ["kept_at"], postgresql_concurrently=True
        )


def downgrade() -> None:
    op.drop_index("feed_entry_kept_at_idx", table_name="feed_entry")

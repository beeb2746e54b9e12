"""Open tasks are found by department, for supervision."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index(
            "task_open_idx",
            "task",
            ["dept", "due"],
            postgresql_where=sa.text("state in ('pending', 'claimed')"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index("task_open_idx", table_name="task")

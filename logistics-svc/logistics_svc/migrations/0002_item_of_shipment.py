"""A shipment names the item of its case, for staff who are limited to some items."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("shipment", sa.Column("item_code", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("shipment", "item_code")

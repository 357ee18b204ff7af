"""quarantine: an offer has the price that is held back

Revision ID: 0006
Revises: 0004
"""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("offers") as offers:
        offers.add_column(sa.Column("quarantined", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Every offer keeps its accepted price."""
    with op.batch_alter_table("offers") as offers:
        offers.drop_column("quarantined")

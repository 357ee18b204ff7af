"""what a sync run did at each of its sources, and the time after which a run without an end is lost

Runs that are there say neither: they were at the Offers service alone, and have ended.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sync_runs", sa.Column("lost_after", sa.DateTime(timezone=True), nullable=True))
    op.add_column("sync_runs", sa.Column("sources", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("sync_runs", "sources")
    op.drop_column("sync_runs", "lost_after")

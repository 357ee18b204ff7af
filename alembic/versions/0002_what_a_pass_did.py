"""what a pass did, and when a product was last asked

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("product_sync") as table:
        table.add_column(sa.Column("last_asked_at", sa.DateTime(timezone=True), nullable=True))
    # The best that is known of a product whose last failure left no time.
    op.execute("UPDATE product_sync SET last_asked_at = last_synced_at")
    if op.get_bind().dialect.name == "postgresql":
        # Written twice a minute: with room on its page, taking a lease touches no index (HOT) and costs less WAL.
        op.execute("ALTER TABLE product_sync SET (fillfactor = 60)")

    # Defaults for the passes that ran before, which counted none of this; `claimed` counted what was asked.
    with op.batch_alter_table("sync_runs") as table:
        for name in ("fetched", "closed", "requests"):
            table.add_column(sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("failures", sa.JSON(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("bytes", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("longest_wait_seconds", sa.Double(), nullable=False, server_default="0"))
    op.execute("UPDATE sync_runs SET fetched = claimed - failed")
    with op.batch_alter_table("sync_runs") as table:
        for name in ("fetched", "closed", "requests", "failures", "bytes", "longest_wait_seconds"):
            table.alter_column(name, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("sync_runs") as table:
        for name in ("fetched", "closed", "requests", "failures", "bytes", "longest_wait_seconds"):
            table.drop_column(name)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE product_sync RESET (fillfactor)")
    with op.batch_alter_table("product_sync") as table:
        table.drop_column("last_asked_at")

"""every product has a summary, also one that was never observed

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("product_summaries") as table:
        table.alter_column("observed_at", existing_type=sa.DateTime(timezone=True), nullable=True)
    op.execute(
        """
        INSERT INTO product_summaries (product_id, offers, items_in_stock)
        SELECT id, 0, 0 FROM products WHERE id NOT IN (SELECT product_id FROM product_summaries)
        """
    )


def downgrade() -> None:
    op.execute("DELETE FROM product_summaries WHERE observed_at IS NULL")
    with op.batch_alter_table("product_summaries") as table:
        table.alter_column("observed_at", existing_type=sa.DateTime(timezone=True), nullable=False)

"""items of feeds find their products by GTIN; those without a product are listed, or become products

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_REASONS = "'no_gtin', 'gtin_unknown', 'no_name', 'name_refused', 'name_taken'"


def upgrade() -> None:
    known = sa.text("gtin IS NOT NULL")
    op.create_index(
        op.f("ix_products_gtin"), "products", ["gtin"], unique=False, postgresql_where=known, sqlite_where=known
    )
    op.add_column("sources", sa.Column("creates_products", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "unmatched_items",
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("locator", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("gtin", sa.Text(), nullable=True),
        sa.Column("brand", sa.Text(), nullable=True),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(f"reason IN ({_REASONS})", name=op.f("ck_unmatched_items_reason_known")),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name=op.f("fk_unmatched_items_source_id_sources"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("source_id", "position", name=op.f("pk_unmatched_items")),
    )


def downgrade() -> None:
    op.drop_table("unmatched_items")
    op.drop_column("sources", "creates_products")
    op.drop_index(op.f("ix_products_gtin"), table_name="products")

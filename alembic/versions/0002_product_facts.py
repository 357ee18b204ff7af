"""what is known of a product beyond its name and description: GTIN, brand, category, image

Existing products keep their search texts: these change only with a brand, a category or a GTIN, which they do not have.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BY_CODE_POINTS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_FACTS = ("gtin", "brand", "category", "image_url")
_KEYS = ("brand_key", "category_key")


def _index(name: str) -> str:
    return op.f(f"ix_products_{name}_created_at_id")


def upgrade() -> None:
    for name in _FACTS:
        op.add_column("products", sa.Column(name, sa.Text(), nullable=True))
    for name in _KEYS:
        op.add_column("products", sa.Column(name, _BY_CODE_POINTS, nullable=True))
        known = sa.text(f"{name} IS NOT NULL")
        columns = [name, "created_at", "id"]
        op.create_index(_index(name), "products", columns, postgresql_where=known, sqlite_where=known)


def downgrade() -> None:
    for name in _KEYS:
        op.drop_index(_index(name), table_name="products")
    for name in (*_KEYS, *_FACTS):
        op.drop_column("products", name)

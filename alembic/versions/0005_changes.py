"""what happened to products, in commit order; those that are there were created

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
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "changes",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        # By code points, as SQLite compares anyway.
        sa.Column("sort_name", sa.Text(collation="C") if postgresql else sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lowest", sa.BigInteger(), nullable=True),
        sa.Column("items_in_stock", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('created', 'changed', 'deleted', 'offers')", name=op.f("ck_changes_kind_known")),
        sa.CheckConstraint(
            "(sort_name IS NOT NULL) = (kind = 'changed') AND (updated_at IS NOT NULL) = (kind = 'changed')",
            name=op.f("ck_changes_changed_has_before"),
        ),
        sa.CheckConstraint(
            "(items_in_stock IS NOT NULL) = (kind = 'offers') AND (lowest IS NULL OR kind = 'offers')",
            name=op.f("ck_changes_offers_has_before"),
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_changes")),
        sqlite_autoincrement=True,
    )
    # Ids are in the order of creation.
    op.execute("INSERT INTO changes (product_id, kind, at) SELECT id, 'created', created_at FROM products ORDER BY id")
    op.create_index(
        op.f("ix_changes_product_id_kind_sequence"), "changes", ["product_id", "kind", "sequence"], unique=False
    )
    if postgresql:
        # The few among the many that say what offers did. (SQLite would not use it.)
        op.create_index("ix_changes_changed", "changes", ["sequence"], postgresql_where=sa.text("kind = 'changed'"))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_changes_changed", table_name="changes")
    op.drop_index(op.f("ix_changes_product_id_kind_sequence"), table_name="changes")
    op.drop_table("changes")

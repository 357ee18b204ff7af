"""what products are searched by and sorted by, and the indexes for it

Revision ID: 0006
Revises: 0005
"""

import unicodedata

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BATCH = 2000
_INDEXES = (
    ("products", "sort_name", "id"),
    ("products", "created_at", "id"),
    ("products", "updated_at", "id"),
    ("product_summaries", "lowest", "product_id"),
    ("product_summaries", "items_in_stock", "product_id"),
)


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.add_column("products", sa.Column("search_text", sa.Text(), nullable=True))
    # By code points, as SQLite compares anyway.
    collated = sa.Text(collation="C") if postgresql else sa.Text()
    op.add_column("products", sa.Column("sort_name", collated, nullable=True))
    _fill()
    with op.batch_alter_table("products") as table:
        table.alter_column("search_text", existing_type=sa.Text(), nullable=False)
        table.alter_column("sort_name", existing_type=collated, nullable=False)
    # What it holds so far is compared with nothing: nobody has paged under the sorts yet.
    op.execute("ALTER TABLE changes RENAME COLUMN name TO sort_name")
    if postgresql:
        op.alter_column("changes", "sort_name", type_=collated)
    for table_name, *columns in _INDEXES:
        op.create_index(op.f(_name(table_name, columns)), table_name, columns, unique=False)
    if postgresql:
        op.create_index("ix_changes_changed", "changes", ["sequence"], postgresql_where=sa.text("kind = 'changed'"))
        # A trusted extension: whoever may create something in the database may create it.
        op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        op.create_index(
            "ix_products_search_text",
            "products",
            ["search_text"],
            unique=False,
            postgresql_using="gin",
            postgresql_ops={"search_text": "gin_trgm_ops"},
        )


def downgrade() -> None:
    # The extension stays: somebody else may use it by now.
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_products_search_text", table_name="products")
        op.drop_index("ix_changes_changed", table_name="changes")
        op.alter_column("changes", "sort_name", type_=sa.Text(collation="default"))
    for table_name, *columns in _INDEXES:
        op.drop_index(op.f(_name(table_name, columns)), table_name=table_name)
    op.execute("ALTER TABLE changes RENAME COLUMN sort_name TO name")
    with op.batch_alter_table("products") as table:
        table.drop_column("sort_name")
        table.drop_column("search_text")


def _name(table: str, columns: list[str]) -> str:
    return "_".join(["ix", table, *columns])


def _fill() -> None:
    """Some products at a time, as the release that this came with does it for each that is written."""
    products = sa.table(
        "products",
        *(sa.column(name, sa.Text) for name in ("name", "description", "search_text", "sort_name")),
        sa.column("id", sa.Uuid),
    )
    connection = op.get_bind()
    some = sa.select(products.c.id, products.c.name, products.c.description).order_by(products.c.id).limit(_BATCH)
    fill = (
        sa.update(products)
        .where(products.c.id == sa.bindparam("which"))
        .values(search_text=sa.bindparam("text"), sort_name=sa.bindparam("sorted"))
    )
    rows = connection.execute(some).all()
    while rows:
        folded = [(id_, _fold(name), _fold(description)) for id_, name, description in rows]
        connection.execute(
            fill, [{"which": id_, "text": f"{name}\n{text}", "sorted": name[:200]} for id_, name, text in folded]
        )
        rows = connection.execute(some.where(products.c.id > rows[-1].id)).all()


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()

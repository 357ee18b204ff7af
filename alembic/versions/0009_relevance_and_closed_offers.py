"""products are found by whole words and without the strokes of Latin letters; closed offers have an index and an end

Revision ID: 0009
Revises: 0008
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_BATCH = 2000


def upgrade() -> None:
    op.add_column("changes", sa.Column("search_text", sa.Text(), nullable=True))
    op.add_column("history_progress", sa.Column("offers_from", sa.DateTime(timezone=True), nullable=True))
    closed = sa.text("closed_at IS NOT NULL")
    columns = ["product_id", "closed_at", "id"]
    op.create_index("ix_offers_closed", "offers", columns, sqlite_where=closed, postgresql_where=closed)
    _refold(_fold, _spaced)


def downgrade() -> None:
    _refold(_decomposed, str)
    op.drop_index("ix_offers_closed", table_name="offers")
    op.drop_column("history_progress", "offers_from")
    op.drop_column("changes", "search_text")


def _refold(fold: Callable[[str], str], spaced: Callable[[str], str]) -> None:
    """Write what all products are found and sorted by, some at a time; the trigrams' index is built anew."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        op.drop_index("ix_products_search_text", table_name="products")
    names = ("name", "description", "search_text", "sort_name")
    products = sa.table("products", *(sa.column(name, sa.Text) for name in names), sa.column("id", sa.Uuid))
    connection = op.get_bind()
    some = sa.select(products.c.id, products.c.name, products.c.description).order_by(products.c.id).limit(_BATCH)
    write = (
        sa.update(products)
        .where(products.c.id == sa.bindparam("which"))
        .values(search_text=sa.bindparam("text"), sort_name=sa.bindparam("sorted"))
    )
    rows = connection.execute(some).all()
    while rows:
        folded = [(id_, fold(name), fold(description)) for id_, name, description in rows]
        connection.execute(
            write,
            [
                {"which": id_, "text": f"{spaced(name)}\n{spaced(text)}", "sorted": name[:200]}
                for id_, name, text in folded
            ],
        )
        rows = connection.execute(some.where(products.c.id > rows[-1].id)).all()
    if postgresql:
        op.create_index(
            "ix_products_search_text",
            "products",
            ["search_text"],
            unique=False,
            postgresql_using="gin",
            postgresql_ops={"search_text": "gin_trgm_ops"},
        )


# As the release that this came with does it for each product that is written.

_MADE_OF = re.compile(r"LATIN SMALL (?:LETTER|LIGATURE) (?:(?:DOTLESS|OPEN) )?([A-Z]{1,2})(?: WITH .+)?")
_OTHERS = {"ð": "d", "þ": "th", "ŋ": "n", "ĸ": "q"}


def _decomposed(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


def _fold(text: str) -> str:
    folded = _decomposed(text)
    return folded if folded.isascii() else "".join(map(_plain, folded))


@lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    found = None if char.isascii() else _MADE_OF.fullmatch(unicodedata.name(char, ""))
    return found[1].lower() if found else _OTHERS.get(char, char)


def _spaced(folded: str) -> str:
    marks = "".join(sorted(char for char in set(folded) if unicodedata.category(char)[0] == "M"))
    parts = rf"(?:[^\W_]|[{marks}])+|(?:[^\w\s{marks}]|_)+" if marks else r"[^\W_]+|(?:[^\w\s]|_)+"
    return f" {' '.join(re.findall(parts, folded))} "

"""A peer: the same API in its usual form, well tuned: FastAPI, SQLModel, psycopg2, on uvicorn.

It runs in a virtual environment of its own, `.venv-peer`, with DATABASE_URL, OFFERS_BASE_URL and JWT_SECRET:

    .venv-peer/bin/uvicorn benchmarks.peer:app --loop uvloop --http httptools --no-access-log --log-level warning

It creates its tables when it starts, and the benchmark fills them: `products` (id uuid, name, description) and `offers`
(id uuid, product_id uuid, price, items_in_stock), with an index on offers.product_id.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID, uuid4

import jwt
import orjson
import requests
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import make_url, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload
from sqlmodel import Field, Relationship, Session, SQLModel, create_engine, select

OFFERS_BASE_URL, JWT_SECRET = os.environ["OFFERS_BASE_URL"], os.environ["JWT_SECRET"]

# A pool for each process. Larger ones are no faster, and PostgreSQL has 100 connections for all. No endpoint keeps a
# connection while it waits for a thread, so that any number of clients is served.
url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg2")
engine = create_engine(url, pool_size=20, max_overflow=0)


class ProductBase(SQLModel):
    name: str = Field(unique=True)
    description: str


class Product(ProductBase, table=True):  # type: ignore[call-arg]
    __tablename__ = "products"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    offers: list["Offer"] = Relationship(passive_deletes="all")


class Offer(SQLModel, table=True):  # type: ignore[call-arg]
    __tablename__ = "offers"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    product_id: UUID = Field(foreign_key="products.id", index=True, ondelete="CASCADE")
    price: int
    items_in_stock: int


class ProductUpdate(SQLModel):
    name: str | None = None
    description: str | None = None


class Login(SQLModel):
    username: str
    password: str


class Answer(JSONResponse):
    """A response without a response model, which would cost another switch to a thread."""

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    with engine.begin() as connection:
        # The workers start at the same time.
        connection.execute(text("SELECT pg_advisory_xact_lock(1)"))
        SQLModel.metadata.create_all(connection)
    yield


async def get_session() -> AsyncIterator[Session]:
    # Asynchronous: saves two switches to a thread.
    with Session(engine, expire_on_commit=False) as session:
        yield session


async def require_admin(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> None:
    try:
        jwt.decode(credentials.credentials, JWT_SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "Invalid or expired token") from error


app = FastAPI(lifespan=lifespan)
Db = Annotated[Session, Depends(get_session, scope="function")]
admin_only = [Depends(require_admin)]


def as_dict(product: Product) -> dict[str, Any]:
    return {"id": product.id, "name": product.name, "description": product.description}


def get_or_404(session: Session, product_id: UUID, *options: Any) -> Product:
    product: Product | None = session.get(Product, product_id, options=options)
    if product is None:
        raise HTTPException(404, "Product not found")
    return product


def commit(session: Session) -> None:
    try:
        session.commit()
    except IntegrityError as error:
        raise HTTPException(409, "There is already a product of this name") from error


def register(product: dict[str, Any]) -> None:
    """Register the product with the Offers service, without retries."""
    json, headers = product | {"id": str(product["id"])}, {"Bearer": "benchmark"}
    requests.post(f"{OFFERS_BASE_URL}/products/register", json=json, headers=headers, timeout=10)


@app.post("/login")
def login(body: Login) -> Answer:
    if (body.username, body.password) != ("admin", "admin"):
        raise HTTPException(401, "Wrong username or password")
    token = jwt.encode({"exp": int(time.time()) + 300}, JWT_SECRET, algorithm="HS256")
    return Answer({"message": "Admin logged in", "access_token": token, "token_type": "Bearer"})


@app.get("/products")
def list_products(session: Db) -> Answer:
    return Answer([as_dict(product) for product in session.exec(select(Product)).all()])


@app.get("/products/{product_id}")
def get_product(product_id: UUID, session: Db) -> Answer:
    product = get_or_404(session, product_id, joinedload(Product.offers))  # type: ignore[arg-type]
    offers = [
        {"id": offer.id, "price": offer.price, "items_in_stock": offer.items_in_stock} for offer in product.offers
    ]
    return Answer(as_dict(product) | {"offers": offers})


@app.post("/products", dependencies=admin_only)
def create_product(body: ProductBase, session: Db, tasks: BackgroundTasks) -> Answer:
    product = Product.model_validate(body)
    session.add(product)
    commit(session)
    tasks.add_task(register, as_dict(product))
    return Answer(as_dict(product), 201)


@app.patch("/products/{product_id}", dependencies=admin_only)
def update_product(product_id: UUID, body: ProductUpdate, session: Db) -> Answer:
    product = get_or_404(session, product_id)
    product.sqlmodel_update(body.model_dump(exclude_unset=True, exclude_none=True))
    commit(session)
    return Answer(as_dict(product))


@app.delete("/products/{product_id}", dependencies=admin_only)
def delete_product(product_id: UUID, session: Db) -> Answer:
    session.delete(get_or_404(session, product_id))
    session.commit()
    return Answer({"message": "Product deleted"})

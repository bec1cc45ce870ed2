"""The yardstick of ``load.py``: the least that the same stack can do for a submit and for reading a job.

FastAPI on the same uvicorn with the same engine: a submit parses JSON, inserts one row and commits durably; a read
selects one row by its id. No checks, no queue, no events. ``python -m benchmarks.bare DATABASE_URL PORT``
"""

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from sqlalchemy import JSON, Column, Connection, Float, MetaData, String, Table, insert, make_url, select

from service.db import Database, writing
from service.ids import new_id
from service.protocol import ProblemProtocol

metadata = MetaData()
rows = Table(
    "bare", metadata, Column("id", String, primary_key=True), Column("at", Float), Column("document", JSON)
)


def create_app(database: Database) -> FastAPI:
    """Return the application."""
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.post("/rows", status_code=202)
    async def submit(request: Request) -> Response:
        document, row = json.loads(await request.body()), new_id("job")
        await database.write(_insert, row, document)
        return Response(json.dumps({"id": row, "document": document}), 202, media_type="application/json")

    @app.get("/rows/{row}")
    async def read(row: str) -> Response:
        found = await database.read(_select, row)
        return Response(json.dumps(found), 200, media_type="application/json")

    return app


def _insert(connection: Connection, row: str, document: Any) -> None:
    connection.execute(insert(rows).values(id=row, at=0.0, document=document))


def _select(connection: Connection, row: str) -> dict[str, Any]:
    return dict(connection.execute(select(rows).where(rows.c.id == row)).mappings().one())


def main() -> None:
    """Serve."""
    url = sys.argv[1]
    database = Database(make_url(url) if "://" in url else Path(url))
    with writing(database.engine) as connection:
        metadata.create_all(connection)
    uvicorn.run(
        create_app(database),
        port=int(sys.argv[2]),
        http=ProblemProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()

"""The floor that scores over HTTP stand on: a route of FastAPI that does nothing but answer, in the same server."""

from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response

from serving.scores import PATH, read_body


def serve(port: int, answer: Path) -> None:
    """Answer every request for scores with the same bytes, until told to stop."""
    app, told = FastAPI(), answer.read_bytes()

    @app.post(PATH)
    async def scores(request: Request) -> Response:
        read_body(await request.body())
        return Response(told, media_type="application/json")

    uvicorn.run(app, port=port, log_level="warning", access_log=False, loop="uvloop", http="httptools", ws="none")

"""A bundle behind HTTP with FastAPI. It follows an alias: `kiln alias tiny@4 prod` switches it while it serves.

pip install enginekiln[compile] fastapi uvicorn
BUNDLE=./store/tiny ALIAS=prod uvicorn examples.fastapi_service:app
curl localhost:8000/predict -d '{"x": [[1, 2, 3]], "mask": [true]}'
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

import enginebundle
from enginebundle.errors import InputError
from examples.tensors import lists, tensors


def make_app(bundle: str, alias: str = "latest", every: float = 10.0) -> FastAPI:
    """`bundle`: `STORE/NAME`. `every`: seconds between two looks at where the alias points."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        session = enginebundle.load(f"{bundle}:{alias}").warm_up()
        with session.watch(alias, every=every) as app.state.following:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, Any]:
        # One version from the first byte to the last, whatever the alias does meanwhile.
        given = await request.json()
        with app.state.following.held() as session:
            outputs = await session.acall(**tensors(session, given))
            return {"version": session.version.number, "outputs": lists(outputs)}

    @app.get("/health")
    def health() -> dict[str, Any]:
        following = app.state.following
        return {"version": following.version.number, "trouble": following.trouble}

    @app.exception_handler(InputError)
    def refused(request: Request, error: InputError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=422)

    @app.exception_handler(ValueError)
    def not_json(request: Request, error: ValueError) -> JSONResponse:
        return JSONResponse({"error": f"expected JSON: {error}"}, status_code=400)

    return app


def __getattr__(name: str) -> FastAPI:
    """`app`, made when uvicorn asks for it: importing this file loads nothing."""
    if name != "app":
        raise AttributeError(name)
    return make_app(os.environ["BUNDLE"], os.environ.get("ALIAS", "latest"))

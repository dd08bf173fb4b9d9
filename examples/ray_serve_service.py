"""A bundle behind Ray Serve. Each replica follows an alias: `kiln alias tiny@4 prod` switches them while they serve.

pip install enginekiln[compile] "ray[serve]"
serve run examples.ray_serve_service:build bundle=./store/tiny alias=prod
curl localhost:8000/ -d '{"x": [[1, 2, 3]], "mask": [true]}'
"""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import JSONResponse

import enginebundle
from enginebundle.errors import InputError
from examples.tensors import lists, tensors


@serve.deployment
class Model:
    """One replica."""

    def __init__(self, bundle: str, alias: str = "latest", every: float = 10.0) -> None:
        """`bundle`: `STORE/NAME`. `every`: seconds between two looks at where the alias points."""
        session = enginebundle.load(f"{bundle}:{alias}").warm_up()
        self._following = session.watch(alias, every=every)

    async def __call__(self, request: Request) -> Any:
        try:
            # One version from the first byte to the last, whatever the alias does meanwhile.
            with self._following.held() as session:
                outputs = await session.acall(**tensors(session, await request.json()))
                return {"version": session.version.number, "outputs": lists(outputs)}
        except InputError as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        except ValueError as error:
            return JSONResponse({"error": f"expected JSON: {error}"}, status_code=400)

    def check_health(self) -> None:
        """Ray replaces a replica for which this raises. One whose alias is in trouble serves all the same."""
        _ = self._following.version


def build(arguments: dict[str, str]) -> Application:
    """The application, from the arguments of `serve run`."""
    replicas = int(arguments.get("replicas", 1))
    return Model.options(num_replicas=replicas).bind(
        arguments["bundle"], arguments.get("alias", "latest"), float(arguments.get("every", 10.0))
    )

"""The proxy that everyone writes first: a FastAPI route around httpx, the token decoded each time.

Started by the benchmark as `python -m bench.peers.plain_proxy PORT UPSTREAM JWKS-FILE ISSUER`.
"""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from jose import JWTError, jwt


def create_app(upstream: str, jwks: dict[str, Any], issuer: str) -> FastAPI:
    """A gateway with one proxied route; `jwks` holds the issuer's keys."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=10) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan)
    bearer = HTTPBearer()

    def claims(
        token: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
    ) -> dict[str, Any]:
        try:
            return jwt.decode(
                token.credentials, jwks, algorithms=["ES256"], audience="beam", issuer=issuer
            )
        except JWTError:
            raise HTTPException(401) from None

    @app.api_route("/v1/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
    async def proxy(
        path: str, request: Request, _: Annotated[dict[str, Any], Depends(claims)]
    ) -> Response:
        skip = ("host", "content-length")
        answer = await request.app.state.client.request(
            request.method,
            f"{upstream}/v1/{path}",
            headers={k: v for k, v in request.headers.items() if k not in skip},
            content=await request.body(),
            params=request.query_params,
        )
        skip = ("content-length", "transfer-encoding")
        headers = {k: v for k, v in answer.headers.items() if k not in skip}
        return Response(answer.content, answer.status_code, headers)

    return app


if __name__ == "__main__":
    _, port, where, keys, who = sys.argv
    app = create_app(where, json.loads(Path(keys).read_text()), who)
    uvicorn.run(app, port=int(port), access_log=False, log_level="warning", timeout_keep_alive=75)

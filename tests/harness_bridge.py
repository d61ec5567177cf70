"""Owns a real HTTP bridge for tests: uvicorn on a free port, in front of whatever public listeners it is given."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import uvicorn

from edge_http.application import application
from edge_http.calls import Calls
from edge_http.http_protocol import PROTOCOLS, PatientSocketProtocol
from edge_http.page import Page
from edge_http.routing import router_of
from edge_http.session import Sessions
from edge_http.sign_in import SignIns
from edge_http.webhooks import Webhooks
from svc_common.contracts import DESCRIPTOR_SET, OPENAPI_DOCUMENT
from tests.harness_postgres import until


@asynccontextmanager
async def running_bridge(
    addresses: Mapping[str, str],
    page: Page | None = None,
    webhooks: Webhooks | None = None,
    compat_grace: timedelta = timedelta(seconds=10),
    *,
    is_secure: bool = True,
    sockets: type[PatientSocketProtocol] = PatientSocketProtocol,
) -> AsyncIterator[int]:
    """Runs a bridge until the block ends, and yields its port; without a page or webhooks it serves none."""
    stopping = asyncio.Event()
    calls = Calls(addresses, timedelta(seconds=15))
    router = router_of(DESCRIPTOR_SET.read_bytes())
    sessions = Sessions(router, calls, is_secure=is_secure)
    sign_ins = SignIns(router, calls, sessions, is_secure=is_secure)
    app = application(
        router, calls, stopping, sessions, sign_ins, page, webhooks, openapi=OPENAPI_DOCUMENT, compat_grace=compat_grace
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, timeout_graceful_shutdown=1, **{**PROTOCOLS, "ws": sockets})
        server = uvicorn.Server(config)
        # Its own signal handlers would take those of the tests.
        task = asyncio.create_task(server._serve([listener]))
        await until(lambda: _has_started(server))
        yield listener.getsockname()[1]
        stopping.set()
        server.should_exit = True
        await task


async def _has_started(server: uvicorn.Server) -> bool:
    return server.started

"""Owns a real HTTP bridge for tests: uvicorn on a free port, in front of whatever public listeners it is given."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import uvicorn

from edge_http.application import application
from edge_http.calls import Calls
from edge_http.page import Page
from edge_http.routing import router_of
from edge_http.session import Sessions
from tests.harness_postgres import until

DESCRIPTOR_SET = Path(__file__).resolve().parents[1] / "gen" / "pingvas.binpb"


@asynccontextmanager
async def running_bridge(addresses: Mapping[str, str], page: Page | None = None) -> AsyncIterator[int]:
    """Runs a bridge until the block ends, and yields its port; without a page it serves none."""
    stopping = asyncio.Event()
    calls = Calls(addresses, timedelta(seconds=15))
    router = router_of(DESCRIPTOR_SET.read_bytes())
    app = application(router, calls, stopping, Sessions(router, calls, is_secure=True), page)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none")
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

"""The stand-in's HTTP server: the provider's API, the pages on which a person pays, and what tests and people turn."""

import asyncio
import html
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from studio.payments.book import Book, Checkout
from studio.payments.deliveries import Deliveries, Faults
from svc_common.concurrency import end_tasks

_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><link rel="icon" href="data:,">
<style>
body {{ font: 16px/1.5 system-ui; display: grid; place-items: center; min-height: 90vh; background: #f4f4f5 }}
main {{ background: #fff; padding: 2rem 3rem; border-radius: 1rem; box-shadow: 0 2px 12px #0002; text-align: center }}
button {{ font: inherit; padding: .6rem 2rem; border: 0; border-radius: .5rem; background: #4f46e5; color: #fff }}
small {{ color: #666 }}
</style>
<main><h1>{title}</h1>{body}<p><small>A stand-in of the local stack. No money moves.</small></p></main></html>"""
_CATCH_UP_SECONDS: Final = 1.0
_GONE: Final = 410


class Face(Protocol):
    """How a book is shown: as one provider or another."""

    def routes(self) -> APIRouter:
        """Returns the provider's API."""


def application(book: Book, deliveries: Deliveries, face: Face, file: Path | None = None) -> FastAPI:
    """Returns the application; while it serves, time passes, reports are sent, and what was bought is kept in a file."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(deliveries.run()), asyncio.create_task(_pass_time(book, file))]
        yield
        await end_tasks(*tasks)
        _save(book, file)

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    for router in (face.routes(), _pages(book), _control(book, deliveries)):
        app.include_router(router)
    return app


def _pages(book: Book) -> APIRouter:
    """Returns what a person sees."""
    router = APIRouter()

    def open_checkout(checkout_id: str) -> Checkout | None:
        checkout = book.checkouts.get(checkout_id)
        return checkout if checkout and not checkout.is_paid and book.now < checkout.expires else None

    @router.get("/checkout/{checkout_id}")
    async def show_checkout(checkout_id: str) -> HTMLResponse:
        checkout = open_checkout(checkout_id)
        if checkout is None:
            return _page("This page is closed", "<p>Open a new checkout.</p>", _GONE)
        price, rhythm = checkout.product.price_cents / 100, " a month" if checkout.product.is_recurring else ""
        form = f'<p>$ {price:.2f}{rhythm}</p><form method="post"><button>Pay</button></form>'
        return _page(checkout.product.name, form)

    @router.post("/checkout/{checkout_id}")
    async def pay(checkout_id: str) -> RedirectResponse:
        checkout = open_checkout(checkout_id)
        if checkout is None:
            raise HTTPException(_GONE)
        book.pay(checkout)
        return RedirectResponse(checkout.return_url, 303)

    @router.get("/portal/{number}")
    async def portal(number: int) -> HTMLResponse:
        bought = book.subscriptions.get(number)
        if bought is None:
            raise HTTPException(404)
        return _page("Your subscription", f"<p>{html.escape(bought.product.name)}: {bought.status}</p>")

    return router


def _control(book: Book, deliveries: Deliveries) -> APIRouter:
    """Returns what tests and curious people turn."""
    router = APIRouter(prefix="/control", dependencies=[Depends(_refuse_forms)])

    @router.get("/healthz")
    async def healthz() -> str:
        return "ok"

    @router.post("/clock")
    async def turn_clock(request: Request) -> dict[str, str]:
        book.turn_clock(timedelta(seconds=float((await request.json())["seconds"])))
        deliveries.wake()
        return {"now": book.now.isoformat()}

    @router.post("/cards")
    async def set_cards(request: Request) -> dict[str, bool]:
        book.declines = bool((await request.json())["declines"])
        return {"declines": book.declines}

    @router.post("/faults")
    async def set_faults(request: Request) -> dict[str, int]:
        deliveries.faults = Faults(**await request.json())
        return {"pending": deliveries.pending}

    @router.post("/refunds")
    async def refund(request: Request) -> dict[str, int]:
        asked = await request.json()
        paid = book.invoices.get(int(asked["number"])) or book.orders.get(int(asked["number"]))
        if paid is None:
            raise HTTPException(404)
        book.refund(paid, int(asked["cents"]))
        return {"refunded": paid.refunded}

    return router


async def _refuse_forms(request: Request) -> None:
    """Refuses what a page of another site could send: without asking, a browser sends no JSON there."""
    if request.method == "POST" and request.headers.get("content-type") != "application/json":
        raise HTTPException(415, "send application/json")


async def _pass_time(book: Book, file: Path | None) -> None:
    while True:
        book.catch_up()
        _save(book, file)
        await asyncio.sleep(_CATCH_UP_SECONDS)


def _save(book: Book, file: Path | None) -> None:
    if file is None:
        return
    saved = book.saved()
    if not file.exists() or file.read_bytes() != saved:
        draft = file.with_suffix(".new")
        draft.write_bytes(saved)
        draft.replace(file)


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=html.escape(title), body=body), status)

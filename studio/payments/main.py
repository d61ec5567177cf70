"""Runs the stand-in from its settings: `python -m studio.payments.main`."""

from pathlib import Path
from typing import Final

import uvicorn
from pydantic import Field, FilePath
from pydantic_settings import BaseSettings, SettingsConfigDict

from studio.payments.application import application
from studio.payments.book import Book, Product
from studio.payments.deliveries import Deliveries
from studio.payments.lemon_squeezy import LemonSqueezyFace
from svc_common.settings import load
from svc_common.telemetry import configure_logging

_HOST: Final = "127.0.0.1"


class StandInSettings(BaseSettings):
    """Every setting of the stand-in; the environment variable has the field's name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    port: int = Field(ge=1, le=65535, description="port on 127.0.0.1")
    webhook_url: str = Field(pattern=r"^https?://", description="URL to which reports are sent")
    key_file: FilePath = Field(description="file with the API key that callers must show")
    secret_file: FilePath = Field(description="file with the secret that signs reports")
    book_file: Path = Field(description="file in which what was bought is kept; need not be there yet")
    products: list[Product] = Field(description="what is sold: a JSON list of number, name, price_cents, is_recurring")


def main() -> None:
    """Runs the stand-in until it is told to stop."""
    settings = load(StandInSettings)
    configure_logging("json", "info")
    book = Book({product.number: product for product in settings.products})
    if settings.book_file.exists():
        book.restore(settings.book_file.read_bytes())
    deliveries = Deliveries(settings.webhook_url, lambda: book.now)
    face = LemonSqueezyFace(
        book,
        deliveries,
        f"http://{_HOST}:{settings.port}",
        settings.key_file.read_text(encoding="utf-8").strip(),
        settings.secret_file.read_text(encoding="utf-8").strip(),
    )
    book.announce = face.announce
    uvicorn.run(
        application(book, deliveries, face, settings.book_file),
        host=_HOST,
        port=settings.port,
        log_config=None,
        access_log=False,
        ws="none",
    )


if __name__ == "__main__":
    main()

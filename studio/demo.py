"""`make demo`: the whole platform in one go, from nothing to a picture, with what to try afterwards.

It has its own data directory and, where the usual ports are taken, other ones, so that it never meets a stack that is
used. Everything it starts is stopped at its end; the data stay, so that the second run is quick and the account can be
used with `pingvas up`.
"""

import json
import os
import secrets
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pingvas.generation.v1.job_pb2 import TextToImage
from pingvas.payment.v1.credit_service_pb2 import GetBalanceRequest
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.user.v1.auth_service_pb2 import RegisterRequest
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub
from rich.console import Console

from studio.cli.administrator import Administrator
from studio.cli.client import Client
from studio.cli.context import Shared
from studio.cli.credentials import Credentials
from studio.cli.failures import CommandError
from studio.cli.generate import make, present
from studio.cli.main import guarded
from studio.cli.picture import picture_console
from studio.examples import PROMPT, curl_example, python_example
from studio.stack.administrator import ensure_administrator
from studio.stack.background import BackgroundStack
from studio.stack.events import Event, EventKind
from studio.stack.layout import DEFAULT_PORT_BASE, Layout, Ports
from studio.stack.local import LocalStack
from studio.stack.ports import find_free_base
from studio.stack.state import StackState

_REPOSITORY = Path(__file__).resolve().parents[1]
_DATA_DIR = _REPOSITORY / ".pingvas" / "demo"
_EMAIL = "demo@example.com"
_ENOUGH_CREDITS = Decimal(50)
_GRANTED_MILLICREDITS = 100_000


@dataclass(frozen=True, slots=True)
class Account:
    """The demo's user."""

    email: str
    password: str


def main() -> None:
    """Runs the demo and exits with 0, or with what a failed command would exit with."""
    shared = Shared(data_dir=_DATA_DIR)
    sys.exit(guarded(lambda: run(shared, picture_console()), shared))


def run(shared: Shared, console: Console) -> None:
    """Starts a stack, has a picture made and shown, tells what to try next, and stops everything."""
    started_at = time.monotonic()
    layout = Layout(shared.data_dir, Ports(find_free_base(DEFAULT_PORT_BASE)))
    stack = LocalStack(layout, environment=os.environ, listen=lambda event: _tell(console, event))
    line = "[bold]Pingvas Studio[/]: starting PostgreSQL, Redis, an S3 server, five services, a worker and Envoy"
    console.print(line, soft_wrap=True)
    with BackgroundStack(stack) as background:
        running = background.state
        console.print(f"Everything is up after {time.monotonic() - started_at:.1f} s: {running.http}\n")
        account = _account(layout)
        with Client(running.grpc, Credentials(layout.keys)) as client:
            log_in(client, account, console)
            with Administrator(shared) as administrator:
                provide_credits(client, administrator, account, console)
            console.print(f'Asking for "{PROMPT}"')
            result = make(client, TextToImage(prompt=PROMPT), layout.data_dir / "images", PROMPT, console)
            present(result, picture_console(always=True, file=console.file))
    console.print(f"Everything is stopped again. That took {time.monotonic() - started_at:.1f} s.\n")
    _suggest(console, running, account)


def log_in(client: Client, account: Account, console: Console) -> None:
    """Logs the demo's user in, registering it first when this is the first time."""
    try:
        client.login(account.email, account.password)
    except CommandError:
        request = RegisterRequest(email=account.email, password=account.password, display_name="Demo")
        client.call_anonymously(AuthServiceStub(client.channel).Register, request)
        client.login(account.email, account.password)
        console.print(f"Registered {account.email}")
    console.print(f"Logged in as {account.email}")


def provide_credits(client: Client, administrator: Administrator, account: Account, console: Console) -> None:
    """Grants the demo's user credits when few are left."""
    balance = client.call(CreditServiceStub(client.channel).GetBalance, GetBalanceRequest())
    if Decimal(balance.available) < _ENOUGH_CREDITS:
        administrator.grant(administrator.account_of(account.email), _GRANTED_MILLICREDITS)
        balance = client.call(CreditServiceStub(client.channel).GetBalance, GetBalanceRequest())
    console.print(f"{balance.available} credits are available")


def _account(layout: Layout) -> Account:
    """Returns the demo's user, whose password is drawn at the first run."""
    file = layout.keys / "demo.json"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(json.dumps({"email": _EMAIL, "password": secrets.token_urlsafe(12)}), encoding="utf-8")
    return Account(**json.loads(file.read_text(encoding="utf-8")))


def _tell(console: Console, event: Event) -> None:
    if event.kind is EventKind.READY:
        console.print(f"  {event.name:<16} ready in {event.seconds:.1f} s")
    elif event.kind is EventKind.DIED:
        console.print(f"  {event.name} {event.detail}; the end of its log:\n{event.log_tail}", markup=False)


def _suggest(console: Console, running: StackState, account: Account) -> None:
    folder = os.path.relpath(running.data_dir)
    console.print("[bold]What to try next[/]. Start the same stack again and leave it running:")
    console.print(f"  .venv/bin/pingvas up --data-dir {folder} --port-base {running.port_base}\n")
    console.print(f"HTTP, JSON, gRPC-web and gRPC are all at {running.http}. With curl:")
    console.print(curl_example(running.http, account.email, account.password), markup=False, soft_wrap=True)
    console.print("\nWith Python (.venv/bin/python):")
    console.print(python_example(running.grpc, account.email, account.password), markup=False, soft_wrap=True)
    administrator = ensure_administrator(Layout(Path(running.data_dir)).keys)
    line = (
        f"\nLog in to the page as {account.email} ({account.password}), or as the administrator {administrator.email}"
    )
    console.print(f"{line} ({administrator.password}).", markup=False, soft_wrap=True)
    command = ".venv/bin/pingvas"
    line = f'Or with the command: {command} register you@example.com, then {command} generate "..."'
    console.print(line, soft_wrap=True)


if __name__ == "__main__":
    main()

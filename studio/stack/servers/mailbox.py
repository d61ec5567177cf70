"""The SMTP server of a stack, which keeps mails instead of sending them; studio.stack.mailbox is its program."""

import sys

from studio.stack.layout import HOST, Layout
from studio.stack.probes import smtp_probe
from studio.stack.process import Listener, Process

NAME = "mailbox"


def url_of(layout: Layout) -> str:
    """Returns the address for svc_user."""
    return f"smtp://{HOST}:{layout.ports.smtp}"


def node(layout: Layout) -> Process:
    """Returns the server."""
    port = layout.ports.smtp
    return Process(
        name=NAME,
        command=(sys.executable, "-m", "studio.stack.mailbox", str(layout.mail), HOST, str(port)),
        probe=smtp_probe(port),
        address=f"{HOST}:{port}",
        log=layout.log(NAME),
        listeners=(Listener(port, "mail"),),
    )

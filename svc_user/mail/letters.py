"""Writes mails: the words of a kind in a language, as text and as HTML, with a link to the studio's page.

No text that a stranger chose stands in a mail, names of users among it: whoever registers with somebody else's address
could send them messages under our name. Only what goes to our own sales team says what somebody wrote.
"""

import tomllib
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import cache
from importlib.resources import files
from typing import Any, Final
from uuid import UUID

from jinja2 import Environment, PackageLoader, StrictUndefined

from svc_user.domain import LINK_LIFETIMES, LinkPurpose, MailKind
from svc_user.mail.account_letters import letter_tables, letter_values

LINK_PURPOSES: Final = {
    MailKind.VERIFY_EMAIL: LinkPurpose.VERIFY_EMAIL,
    MailKind.RESET_PASSWORD: LinkPurpose.RESET_PASSWORD,
    MailKind.CHANGE_EMAIL: LinkPurpose.CHANGE_EMAIL,
    MailKind.EMAIL_CHANGED: LinkPurpose.UNDO_EMAIL_CHANGE,
}
"""The mails whose link has a token, and what that is good for."""

_PAGES: Final = {
    MailKind.VERIFY_EMAIL: "verify-email",
    MailKind.EMAIL_IN_USE: "forgot-password",
    MailKind.RESET_PASSWORD: "reset-password",
    MailKind.PASSWORD_CHANGED: "forgot-password",
    MailKind.SESSION_REVOKED: "forgot-password",
    MailKind.IDENTITY_LINKED: "account/identities",
    MailKind.IDENTITY_UNLINKED: "account/identities",
    MailKind.SECOND_FACTOR_ENABLED: "account/security",
    MailKind.SECOND_FACTOR_DISABLED: "account/security",
    MailKind.CHANGE_EMAIL: "confirm-email",
    MailKind.EMAIL_CHANGED: "undo-email",
    MailKind.ACCOUNT_CLOSED: "account",
    MailKind.LOW_BALANCE: "billing",
    MailKind.STATEMENT: "billing",
    MailKind.STORAGE_OVERAGE: "gallery",
    MailKind.ENTERPRISE_LEAD: "pricing",
    MailKind.ACCOUNT_EXPORT: "account",
}
_UNITS: Final = {"days": timedelta(days=1), "hours": timedelta(hours=1), "minutes": timedelta(minutes=1)}


class LetterWriter:
    """Writes the mails of one deployment."""

    def __init__(self, studio_url: str, sender: str) -> None:
        """Takes the address of the studio's page, and the sender as `Name <address>`."""
        self._studio_url = studio_url.rstrip("/")
        name, address = parseaddr(sender)
        self._sender = Address(display_name=name, addr_spec=address)
        loader = PackageLoader("svc_user.mail")
        self._text = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - plain text
        self._html = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=True)

    def write(
        self,
        kind: MailKind,
        *,
        mail_id: UUID,
        to: str,
        locale: str,
        token: str | None,
        now: datetime,
        content: bytes | None = None,
        address: str | None = None,
    ) -> EmailMessage:
        """Returns a mail. Its Message-ID follows from its id, so that a mail that is sent twice is one to its reader.

        `address` is where it leads to, in place of the studio's page.
        """
        values = self._values(kind, locale, token, content)
        if address is not None:
            values["link"] = address
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = Address(addr_spec=to)
        message["Subject"] = values["subject"]
        message["Date"] = format_datetime(now)
        message["Message-ID"] = f"<{mail_id}@{self._sender.domain}>"
        message["Content-Language"] = locale
        # No holiday replies (RFC 3834).
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self._text.get_template("letter.txt.j2").render(values))
        message.add_alternative(self._html.get_template("letter.html.j2").render(values), subtype="html")
        return message

    def link(self, kind: MailKind, token: str | None) -> str:
        """Returns the address of the page that a mail leads to.

        The token stands in the fragment, which browsers send to no server: neither logs nor referrers learn it.
        """
        address = f"{self._studio_url}/{_PAGES[kind]}"
        return f"{address}#token={token}" if token else address

    def _values(self, kind: MailKind, locale: str, token: str | None, content: bytes | None) -> dict[str, Any]:
        words = _words(locale)
        own = words[kind.value]
        fill = self._text.from_string
        purpose = LINK_PURPOSES.get(kind)
        lifetime = LINK_LIFETIMES[purpose] if purpose else timedelta()
        known = {name: lifetime // unit for name, unit in _UNITS.items()} | letter_values(kind, content)
        return {
            "locale": locale,
            "subject": fill(own["subject"]).render(known),
            "paragraphs": [fill(paragraph).render(known) for paragraph in own["paragraphs"]],
            "tables": letter_tables(kind, content, own),
            "button": own["button"],
            "after": own["after"],
            "link": self.link(kind, token),
            "link_hint": words["link_hint"],
            "footer": words["footer"],
        }


@cache
def _words(locale: str) -> dict[str, Any]:
    return tomllib.loads(files("svc_user.mail").joinpath("words", f"{locale}.toml").read_text(encoding="utf-8"))

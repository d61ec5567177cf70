"""Hands mails to the deployment's mail server by SMTP."""

import asyncio
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Final, Self
from urllib.parse import unquote, urlsplit

import aiosmtplib

_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
# From the connection to the server's word that it has the mail. Less than the first delay of a retry.
_SEND_SECONDS: Final = 20.0
_PERMANENT: Final = 500


class MailServerError(Exception):
    """Says that the server didn't take a mail now; it may take it later."""


class MailRefusedError(Exception):
    """Says that the server will never take this mail, for example because there is no such mailbox."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """The SMTP server that takes our mails."""

    host: str
    port: int
    encryption: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Takes `smtp://host:port`, `smtp+starttls://user:password@host` or `smtps://...`; raises ValueError for others."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("it must be smtp://, smtp+starttls:// or smtps:// with a host")
        return cls(
            host=parts.hostname,
            port=parts.port or _PORTS[parts.scheme],
            encryption=parts.scheme,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )

    async def send(self, message: EmailMessage) -> None:
        """Hands a mail over. Raises MailServerError or MailRefusedError."""
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await aiosmtplib.send(
                    message,
                    hostname=self.host,
                    port=self.port,
                    username=self.username,
                    password=self.password,
                    use_tls=self.encryption == "smtps",
                    # Never without, where it is asked for: a server that doesn't offer it is refused.
                    start_tls=self.encryption == "smtp+starttls",
                    timeout=_SEND_SECONDS,
                )
        except aiosmtplib.SMTPRecipientsRefused as error:
            # There is one recipient in each mail.
            refusal = error.recipients[0]
            raise _refused(refusal.code, refusal.message) from error
        except (aiosmtplib.SMTPDataError, aiosmtplib.SMTPSenderRefused) as error:
            raise _refused(error.code, error.message) from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise MailServerError(f"{type(error).__name__}: {error}") from error


def _refused(code: int, message: str) -> MailServerError | MailRefusedError:
    kind = MailRefusedError if code >= _PERMANENT else MailServerError
    return kind(f"{code} {message}")

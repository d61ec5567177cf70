"""Owns mail to users: its words in each language, the way to the mail server, and the delivery of the outbox."""

from svc_user.mail.delivery import MailDelivery
from svc_user.mail.letters import LetterWriter
from svc_user.mail.smtp import MailRefusedError, MailServer, MailServerError

__all__ = ["LetterWriter", "MailDelivery", "MailRefusedError", "MailServer", "MailServerError"]

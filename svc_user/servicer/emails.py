"""Serves EmailService: changes a user's address, and gives the old one back."""

from collections.abc import Callable
from datetime import datetime

import structlog
from pingvas.user.v1 import email_service_pb2, email_service_pb2_grpc

from svc_common.caller import current_account, current_caller, current_user
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError, invalid_field
from svc_user import domain
from svc_user.domain import LINK_LIFETIMES, LinkPurpose, MailKind
from svc_user.domain.audit import AuditKind
from svc_user.servicer.proof import OwnerProof
from svc_user.servicer.throttle import Throttle
from svc_user.servicer.users import get_caller
from svc_user.store import api_keys, email_changes, outbox, queries
from svc_user.usecases import AuditTrail, WelcomeCredits
from svc_user.usecases.audit import by_user

_log = structlog.get_logger()


class EmailServicer(email_service_pb2_grpc.EmailServiceServicer):
    """Implements pingvas.user.v1.EmailService."""

    def __init__(
        self,
        *,
        database: Database,
        proof: OwnerProof,
        throttle: Throttle,
        welcome: WelcomeCredits,
        audit: AuditTrail,
        announce_mail: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Takes the database under the requests role, and what to call when a mail was committed."""
        self._database = database
        self._proof = proof
        self._throttle = throttle
        self._welcome = welcome
        self._audit = audit
        self._announce_mail = announce_mail
        self._clock = clock

    async def ChangeEmail(
        self, request: email_service_pb2.ChangeEmailRequest, context: object
    ) -> email_service_pb2.ChangeEmailResponse:
        """Mails a link to the new address, or a warning to whoever has it; the answer doesn't say which."""
        new_email, user_id = domain.normalise_email(request.new_email), current_user()
        async with self._database.transaction(current_account()) as transaction:
            user = await get_caller(transaction, user_id)
        if new_email == user.email:
            raise invalid_field("new_email", "is your address already.")
        await self._proof.require(user, context, password=request.current_password, code=request.code)
        await self._throttle.mail(new_email, context)
        now = self._clock()
        async with self._database.transaction(user.account_id) as transaction:
            holder = await queries.find_holder(transaction, new_email, now)
            if holder in (None, user.account_id):
                await outbox.insert_mail(transaction, new_id(), new_email, MailKind.CHANGE_EMAIL, now, about=user_id)
            else:
                await outbox.insert_mail(transaction, new_id(), new_email, MailKind.EMAIL_IN_USE, now)
            await self._audit.add(transaction, AuditKind.EMAIL_CHANGE_REQUESTED, user.account_id)
        self._announce_mail()
        return email_service_pb2.ChangeEmailResponse()

    async def ConfirmEmailChange(
        self, request: email_service_pb2.ConfirmEmailChangeRequest, context: object
    ) -> email_service_pb2.ConfirmEmailChangeResponse:
        """Makes the address to which the token was mailed the caller's."""
        await self._throttle.link(context)
        token_hash, now, earns_welcome = domain.hash_link_token(request.token), self._clock(), False
        async with self._database.transaction(current_account()) as transaction:
            user = await get_caller(transaction, current_user(), is_locked=True)
            link = await email_changes.find_link(transaction, token_hash, LinkPurpose.CHANGE_EMAIL, now)
            if link is None or link.user_id != user.user_id or link.email is None:
                raise _link_invalid()
            # The old address must not be taken by others before it is kept.
            for email in sorted({user.email, link.email}):
                holder = await queries.find_holder(transaction, email, now)
                if holder not in (None, user.account_id):
                    raise ServiceError(Reason.EMAIL_TAKEN, "Somebody has this e-mail address. Choose another one.")
            if user.email_verified:
                await email_changes.keep_email(transaction, user, now + LINK_LIFETIMES[LinkPurpose.UNDO_EMAIL_CHANGE])
                mail = MailKind.EMAIL_CHANGED
                await outbox.insert_mail(transaction, new_id(), user.email, mail, now, about=user.user_id)
            else:
                earns_welcome = await self._welcome.enter(transaction, link.email, user.account_id)
            await email_changes.drop_former_emails(transaction, user.user_id, link.email)
            user.email, user.email_verified = link.email, True
            await queries.delete_link_tokens(transaction, user.user_id)
            await queries.revoke_sessions(transaction, user.user_id, now, spared=current_caller().session_id)
            await self._audit.add(transaction, AuditKind.EMAIL_CHANGED, user.account_id)
        self._announce_mail()
        if earns_welcome:
            await self._welcome.grant_at_once(user.email, user.account_id)
        _log.info("email.changed", user_id=str(user.user_id))
        return email_service_pb2.ConfirmEmailChangeResponse(email=user.email)

    async def UndoEmailChange(
        self, request: email_service_pb2.UndoEmailChangeRequest, context: object
    ) -> email_service_pb2.UndoEmailChangeResponse:
        """Gives a user the address back to which the token was mailed, and ends every other way into the account."""
        await self._throttle.link(context)
        token_hash, now = domain.hash_link_token(request.token), self._clock()
        async with self._database.transaction() as transaction:
            await queries.enter_account_by_link_token(transaction, token_hash)
            link = await email_changes.find_link(transaction, token_hash, LinkPurpose.UNDO_EMAIL_CHANGE, now)
            user = await queries.lock_user(transaction, link.user_id) if link is not None else None
            if link is None or link.email is None or user is None:
                raise _link_invalid()
            if not await email_changes.keeps_email(transaction, user.user_id, link.email, now):
                raise _link_invalid()
            user.email, user.email_verified, user.password_hash = link.email, True, None
            await email_changes.drop_former_emails(transaction, user.user_id)
            await email_changes.delete_all_link_tokens(transaction, user.user_id)
            await api_keys.delete_api_keys(transaction, user.user_id)
            await queries.delete_identities(transaction, user.user_id)
            await queries.revoke_sessions(transaction, user.user_id, now)
            # Whoever has the mailbox is its owner; the call itself names nobody.
            await self._audit.add(
                transaction, AuditKind.EMAIL_CHANGE_UNDONE, user.account_id, actor=by_user(user.user_id)
            )
            await outbox.insert_mail(transaction, new_id(), user.email, MailKind.RESET_PASSWORD, now)
        self._announce_mail()
        _log.warning("email.change_undone", user_id=str(user.user_id))
        return email_service_pb2.UndoEmailChangeResponse(email=user.email)


def _link_invalid() -> ServiceError:
    return ServiceError(Reason.LINK_INVALID, "The link is unknown, used, expired or another user's.")

"""Says what svc_user itself puts into the copy of everything that an account's owner asks for. No secret has a message."""

from datetime import UTC
from functools import partial

from pingvas.user.v1 import user_pb2

from svc_common.account_data import AccountPager, Document, rows_of
from svc_common.db import Database
from svc_common.paging import PageTokens
from svc_user.messages import (
    api_key_message,
    audit_event_message,
    identity_message,
    session_message,
    user_message,
)
from svc_user.store.models import ApiKey, AuditEvent, Avatar, Identity, SecondFactor, Session, User


def account_pager(database: Database, page_tokens: PageTokens) -> AccountPager:
    """Returns the pages of what svc_user has of an account; takes the database under the requests role."""
    return AccountPager(
        database=database,
        page_tokens=page_tokens,
        collections=(
            rows_of("users", User, (User.user_id,), user_message),
            rows_of("avatars", Avatar, (Avatar.user_id,), _avatar),
            rows_of("sessions", Session, (Session.session_id,), partial(session_message, current=None)),
            rows_of("identities", Identity, (Identity.identity_id,), identity_message),
            rows_of("api_keys", ApiKey, (ApiKey.api_key_id,), api_key_message),
            rows_of("second_factors", SecondFactor, (SecondFactor.user_id,), _second_factor),
            rows_of("audit_events", AuditEvent, (AuditEvent.event_id,), audit_event_message),
        ),
    )


def _avatar(row: Avatar) -> user_pb2.User:
    return user_pb2.User(user_id=str(row.user_id), avatar=row.content)


def _second_factor(row: SecondFactor) -> Document:
    confirm_time = row.confirm_time.astimezone(UTC).isoformat() if row.confirm_time else ""
    return {"user_id": str(row.user_id), "confirm_time": confirm_time}

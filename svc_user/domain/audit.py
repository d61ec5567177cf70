"""Owns what the audit log can tell."""

import enum
from typing import Final
from uuid import UUID

NOBODY: Final = UUID(int=0)
"""The account of what was tried with an address that nobody has, and of what was done to the platform."""


class AuditKind(enum.StrEnum):
    """What was done to an account; the values of pingvas.user.v1.AuditEventKind."""

    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGNED_OUT = "signed_out"
    SESSIONS_ENDED = "sessions_ended"
    REFRESH_TOKEN_REUSED = "refresh_token_reused"  # noqa: S105 - no password
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - no password
    PASSWORD_RESET = "password_reset"  # noqa: S105 - no password
    EMAIL_VERIFIED = "email_verified"
    SECOND_FACTOR_ENABLED = "second_factor_enabled"
    SECOND_FACTOR_DISABLED = "second_factor_disabled"
    SECOND_FACTOR_RESET = "second_factor_reset"
    SECOND_FACTOR_FAILED = "second_factor_failed"
    RECOVERY_CODE_USED = "recovery_code_used"
    RECOVERY_CODES_REPLACED = "recovery_codes_replaced"
    ROLE_CHANGED = "role_changed"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_REINSTATED = "account_reinstated"
    API_KEY_CREATED = "api_key_created"
    API_KEY_DELETED = "api_key_deleted"
    IDENTITY_LINKED = "identity_linked"
    IDENTITY_UNLINKED = "identity_unlinked"
    REGISTERED = "registered"
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    EMAIL_CHANGE_UNDONE = "email_change_undone"
    ACCOUNT_CLOSED = "account_closed"
    ACCOUNT_REOPENED = "account_reopened"
    CREDITS_GRANTED = "credits_granted"
    TIER_SET = "tier_set"
    ENTERPRISE_ACTIVATED = "enterprise_activated"
    JOB_REQUEUED = "job_requeued"
    TIER_PAUSED = "tier_paused"
    TIER_RESUMED = "tier_resumed"
    ACCOUNT_EXPORT_REQUESTED = "account_export_requested"

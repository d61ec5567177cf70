"""Answers the RPCs of the area `user`.

All of its services are public, but for UserDirectoryService and AccountNoticeService, which are internal.
"""

from svc_user.servicer.account_data import account_pager
from svc_user.servicer.account_exports import AccountExportServicer
from svc_user.servicer.account_notices import AccountNoticeServicer
from svc_user.servicer.administration import AccountAdminServicer
from svc_user.servicer.api_keys import ApiKeyServicer, KeySource
from svc_user.servicer.audit import AuditServicer
from svc_user.servicer.auth import AuthServicer
from svc_user.servicer.deletions import DeletionServicer
from svc_user.servicer.directory import UserDirectoryServicer
from svc_user.servicer.edge_limits import EdgeLimitServicer
from svc_user.servicer.emails import EmailServicer
from svc_user.servicer.identities import IdentityServicer, SignInParts
from svc_user.servicer.passwords import PasswordHasher, PasswordLimits
from svc_user.servicer.profile import UserServicer
from svc_user.servicer.proof import OwnerProof
from svc_user.servicer.second_factors import SecondFactorServicer
from svc_user.servicer.throttle import Throttle, ThrottleLimits

__all__ = [
    "AccountAdminServicer",
    "AccountExportServicer",
    "AccountNoticeServicer",
    "ApiKeyServicer",
    "AuditServicer",
    "AuthServicer",
    "DeletionServicer",
    "EdgeLimitServicer",
    "EmailServicer",
    "IdentityServicer",
    "KeySource",
    "OwnerProof",
    "PasswordHasher",
    "PasswordLimits",
    "SecondFactorServicer",
    "SignInParts",
    "Throttle",
    "ThrottleLimits",
    "UserDirectoryServicer",
    "UserServicer",
    "account_pager",
]

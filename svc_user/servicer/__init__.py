"""Answers the RPCs of the area `user`: AuthService and UserService (public), UserDirectoryService (internal)."""

from svc_user.servicer.auth import AuthServicer, TokenSource
from svc_user.servicer.directory import UserDirectoryServicer
from svc_user.servicer.passwords import PasswordHasher, PasswordLimits
from svc_user.servicer.profile import UserServicer

__all__ = [
    "AuthServicer",
    "PasswordHasher",
    "PasswordLimits",
    "TokenSource",
    "UserDirectoryServicer",
    "UserServicer",
]

"""Answers the RPCs of the area `user`: AuthService and UserService (public), UserDirectoryService (internal)."""

from svc_user.servicer.auth import AuthServicer, TokenSource
from svc_user.servicer.directory import UserDirectoryServicer
from svc_user.servicer.passwords import PasswordHasher, PasswordLimits
from svc_user.servicer.profile import UserServicer
from svc_user.servicer.throttle import Throttle, ThrottleLimits

__all__ = [
    "AuthServicer",
    "PasswordHasher",
    "PasswordLimits",
    "Throttle",
    "ThrottleLimits",
    "TokenSource",
    "UserDirectoryServicer",
    "UserServicer",
]

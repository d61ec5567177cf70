"""Holds what handlers and sweeps of svc_user both do: sessions and what signs them, second factors, audits, credits, copies."""

from svc_user.usecases.audit import AuditTrail
from svc_user.usecases.challenges import Challenges
from svc_user.usecases.client import ClientOfCall
from svc_user.usecases.erasure import Erasure
from svc_user.usecases.exporting import AccountExporter
from svc_user.usecases.sealing import Seal
from svc_user.usecases.second_factors import SecondFactors
from svc_user.usecases.sessions import Sessions, TokenSource
from svc_user.usecases.signing import Signing
from svc_user.usecases.welcome import WelcomeCredits

__all__ = [
    "AccountExporter",
    "AuditTrail",
    "Challenges",
    "ClientOfCall",
    "Erasure",
    "Seal",
    "SecondFactors",
    "Sessions",
    "Signing",
    "TokenSource",
    "WelcomeCredits",
]

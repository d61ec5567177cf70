"""Talks to the providers at which people sign in: where to send a browser, and whose code came back.

What an identity means here is left to the domain and to the servicer.
"""

from svc_user.providers.client import OAuthProvider, ProviderClient, unavailable
from svc_user.providers.discord import Discord
from svc_user.providers.google import Google

__all__ = ["Discord", "Google", "OAuthProvider", "ProviderClient", "unavailable"]

"""Holds the settings of svc_user, and turns them into what its parts are made with."""

import os
import re
from datetime import timedelta
from typing import Final, Self

from pydantic import Field, FilePath, model_validator

from svc_common.limits.buckets import Rate
from svc_common.settings import PictureSettings, ServiceSettings, neighbour
from svc_user.domain.attempts import AttemptPolicy, Backoff
from svc_user.domain.federation import Provider
from svc_user.providers import ProviderClient
from svc_user.providers.discord import DISCORD_URL
from svc_user.providers.google import GOOGLE_ISSUER
from svc_user.servicer import PasswordLimits, ThrottleLimits

# Secrets and identities travel there: https, but for a provider or a studio on this machine.
_PROVIDER_URL: Final = r"^https://|^http://(127\.0\.0\.1|localhost|\[::1\])(:|/|$)"


class UserSettings(ServiceSettings, PictureSettings):
    """Adds what only svc_user needs. The defaults of argon2id are those recommended for 64 MiB a hash."""

    payment_internal_address: str = neighbour("payment")
    generation_internal_address: str = neighbour("generation")
    gallery_internal_address: str = neighbour("gallery")
    models_internal_address: str = neighbour("models")

    user_signing_key_file: FilePath = Field(
        description="file with the EC P-256 key (PEM) that signs access tokens; USER_JWKS_FILE has its public half"
    )
    argon2_memory_kib: int = Field(default=64 * 1024, ge=8, description="memory of one password hash, KiB")
    argon2_time_cost: int = Field(default=3, ge=1, description="passes over that memory")
    argon2_parallelism: int = Field(default=1, ge=1, description="lanes of one password hash")
    password_concurrency: int = Field(
        default=0, ge=0, description="password hashes that run at once; 0: one for each core that this process may use"
    )
    password_max_waiting: int = Field(default=64, ge=0, description="calls that may wait for a password hash")
    password_longest_wait_seconds: float = Field(
        default=2.0, gt=0, description="how long such a call waits before it is refused as OVERLOADED"
    )

    login_longest_wait_seconds: float = Field(
        default=60.0, ge=1, description="how long failed log-ins make the next one wait at most; nobody is locked out"
    )
    login_failures_known: int = Field(
        default=10, ge=1, description="failures without a wait from a network where the account logged in before"
    )
    login_failures_strange: int = Field(
        default=5, ge=1, description="failures without a wait at one account from any other network"
    )
    login_failures_account: int = Field(
        default=50, ge=1, description="failures without a wait at one account from all such networks together"
    )
    login_failures_network: int = Field(
        default=100, ge=1, description="failures without a wait from one network at accounts that it isn't known to"
    )
    logins_per_second: float = Field(default=5.0, gt=0, description="log-ins a second from one network")
    login_burst: int = Field(default=200, ge=1, description="log-ins from one network at once")
    registrations_per_second: float = Field(default=1.0, gt=0, description="registrations a second from one network")
    registration_burst: int = Field(default=200, ge=1, description="registrations from one network at once")
    refreshes_per_second: float = Field(default=20.0, gt=0, description="refreshes a second from one network")
    refresh_burst: int = Field(default=1000, ge=1, description="refreshes from one network at once")
    mail_requests_per_second: float = Field(
        default=0.5, gt=0, description="requests for a mail a second from one network, registrations not counted"
    )
    mail_request_burst: int = Field(default=50, ge=1, description="such requests from one network at once")
    mails_per_hour: float = Field(default=6.0, gt=0, description="mails an hour that strangers cause to one address")
    mail_burst: int = Field(default=5, ge=1, description="such mails to one address at once")
    links_per_second: float = Field(default=2.0, gt=0, description="uses of mailed links a second from one network")
    link_burst: int = Field(default=100, ge=1, description="uses of mailed links from one network at once")

    api_keys_per_hour: float = Field(default=20.0, gt=0, description="API keys that one account makes in an hour")
    api_key_burst: int = Field(default=20, ge=1, description="API keys that one account makes at once")
    exchanges_per_second: float = Field(
        default=50.0, gt=0, description="exchanges of API keys for tokens a second from one network"
    )
    exchange_burst: int = Field(default=1000, ge=1, description="such exchanges from one network at once")
    address_requests_per_minute: float = Field(
        default=1000.0,
        gt=0,
        description="calls without a token a minute from one network, over all services; ACCOUNT_LIMIT_FACTOR multiplies it",
    )
    address_request_burst: int = Field(default=250, ge=1, description="such calls from one network at once")
    api_key_environment: str = Field(
        default="live", pattern=r"^[a-z]{1,10}$", description="name of the deployment that stands in its API keys"
    )

    smtp_url: str = Field(
        pattern=r"^smtp(s|\+starttls)?://[^/\s]+$",
        description="mail server: smtp://host:port, or smtp+starttls:// or smtps:// with user:password@host",
    )
    mail_sender: str = Field(
        default="Pingvas Studio <no-reply@pingvas.studio>",
        pattern=r"^[^<>@\r\n]*<[^<>@\s]+@[^<>@\s]+>$",
        description="sender of mails, as Name <address>",
    )
    sales_email: str = Field(
        default="",
        pattern=r"^([^<>@\s]+@[^<>@\s]+)?$",
        description="address to which requests for the enterprise plan are mailed; absent: administrators list them",
    )
    studio_url: str = Field(
        pattern=r"^https?://\S+$",
        description="address of the studio for browsers, such as https://studio.example.com: links in mails lead there, and "
        "providers send people back there",
    )
    welcome_credits: int = Field(
        default=100, ge=0, description="credits that a person gets once, when their address is confirmed"
    )
    login_requires_verified_email: bool = Field(
        default=True,
        description="whether an address must be confirmed before its owner can log in; false tells whoever registers an "
        "address and then logs in whether it was free",
    )

    administrators_need_second_factor: bool = Field(
        default=True,
        description="whether the role of an administrator counts only with a second factor; until then they are users",
    )
    sealing_key_file: FilePath | None = Field(
        default=None,
        description="file with the secret that seals the secrets of authenticators; absent: SERVICE_KEY_FILE, which then may "
        "not be replaced",
    )

    google_client_id: str = Field(default="", description="our client id at Google; absent: no sign-in with Google")
    google_client_secret_file: FilePath | None = Field(
        default=None, description="file with our client secret at Google"
    )
    google_issuer: str = Field(
        default=GOOGLE_ISSUER, pattern=_PROVIDER_URL, description="address of the OpenID provider that Google is"
    )
    discord_client_id: str = Field(default="", description="our client id at Discord; absent: no sign-in with Discord")
    discord_client_secret_file: FilePath | None = Field(
        default=None, description="file with our client secret at Discord"
    )
    discord_url: str = Field(
        default=DISCORD_URL, pattern=_PROVIDER_URL, description="address below which Discord's pages and API are"
    )
    provider_timeout_seconds: float = Field(
        default=6.0, gt=0, description="how long a provider's answers to one call may take altogether"
    )

    @model_validator(mode="after")
    def _providers_are_whole(self) -> Self:
        for name, client_id, secret_file in (
            ("GOOGLE", self.google_client_id, self.google_client_secret_file),
            ("DISCORD", self.discord_client_id, self.discord_client_secret_file),
        ):
            if client_id and not secret_file:
                raise ValueError(f"{name}_CLIENT_ID also needs {name}_CLIENT_SECRET_FILE")
            if client_id and not re.match(_PROVIDER_URL, self.studio_url):
                raise ValueError(f"{name}_CLIENT_ID needs a STUDIO_URL with https, or one on this machine")
        return self

    def provider_client(self, provider: Provider) -> ProviderClient | None:
        """Returns our registration at a provider, or None where there is none."""
        client_id, secret_file = {
            Provider.GOOGLE: (self.google_client_id, self.google_client_secret_file),
            Provider.DISCORD: (self.discord_client_id, self.discord_client_secret_file),
        }[provider]
        if not client_id or secret_file is None:
            return None
        return ProviderClient(
            client_id=client_id,
            client_secret=secret_file.read_text(encoding="utf-8").strip(),
            redirect_uri=f"{self.studio_url.rstrip('/')}/api/v1/auth/{provider.value}/callback",
            timeout=timedelta(seconds=self.provider_timeout_seconds),
        )

    def address_rate(self) -> Rate | None:
        """Returns how often one network may call without a token; None: as often as it likes."""
        factor = self.account_limit_factor
        if not factor:
            return None
        return Rate(self.address_requests_per_minute / 60 * factor, max(1, int(self.address_request_burst * factor)))

    def throttle_limits(self) -> ThrottleLimits:
        """Returns how often the methods that anybody may call may be called."""
        longest = timedelta(seconds=self.login_longest_wait_seconds)
        return ThrottleLimits(
            attempts=AttemptPolicy(
                known_origin=Backoff(self.login_failures_known, longest),
                strange_origin=Backoff(self.login_failures_strange, longest),
                strangers_of_account=Backoff(self.login_failures_account, longest),
                strangers_of_network=Backoff(self.login_failures_network, longest),
                # Much longer than the wait, or waiting would earn the free failures anew.
                memory=60 * longest,
            ),
            logins=Rate(self.logins_per_second, self.login_burst),
            registrations=Rate(self.registrations_per_second, self.registration_burst),
            refreshes=Rate(self.refreshes_per_second, self.refresh_burst),
            mail_requests=Rate(self.mail_requests_per_second, self.mail_request_burst),
            mails=Rate(self.mails_per_hour / 3600, self.mail_burst),
            links=Rate(self.links_per_second, self.link_burst),
            api_keys=Rate(self.api_keys_per_hour / 3600, self.api_key_burst),
            exchanges=Rate(self.exchanges_per_second, self.exchange_burst),
        )

    def password_limits(self) -> PasswordLimits:
        """Returns the limits of password hashing."""
        return PasswordLimits(
            memory_kib=self.argon2_memory_kib,
            time_cost=self.argon2_time_cost,
            parallelism=self.argon2_parallelism,
            concurrency=self.password_concurrency or len(os.sched_getaffinity(0)),
            max_waiting=self.password_max_waiting,
            longest_wait=timedelta(seconds=self.password_longest_wait_seconds),
        )

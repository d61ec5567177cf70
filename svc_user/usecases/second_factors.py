"""Sets second factors up and checks their codes, in transactions of their owner's account."""

import hmac
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import pyotp
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.domain import second_factors as rules
from svc_user.domain.audit import AuditKind
from svc_user.store import second_factors as store
from svc_user.store.models import SecondFactor, User
from svc_user.usecases.audit import AuditTrail, by_user
from svc_user.usecases.sealing import Seal

_NEVER: Final = -1


class SecondFactors:
    """The authenticators and recovery codes of all users."""

    def __init__(
        self,
        *,
        seal: Seal,
        audit: AuditTrail,
        random_bytes: Callable[[int], bytes],
        clock: Callable[[], datetime],
        are_required: bool,
    ) -> None:
        """Takes whether administrators need one for their role to count."""
        self.are_required = are_required
        self._seal = seal
        self._audit = audit
        self._random_bytes = random_bytes
        self._clock = clock

    async def is_on(self, transaction: AsyncSession, user: User) -> bool:
        """Tells whether signing in takes a second step."""
        return await store.is_on(transaction, user.user_id)

    async def begin(self, transaction: AsyncSession, user: User) -> str:
        """Draws a secret for an app and returns it; raises SECOND_FACTOR_FAILED when there is a factor."""
        secret = rules.format_secret(self._random_bytes(rules.TOTP_SECRET_BYTES))
        factor = SecondFactor(
            user_id=user.user_id,
            account_id=user.account_id,
            sealed_secret=self._seal.close(secret.encode(), user.user_id.bytes),
            create_time=self._clock(),
        )
        if not await store.begin_factor(transaction, factor):
            raise rules.failed("on")
        return secret

    def address(self, user: User, secret: str) -> str:
        """Returns the address that an app reads from a QR code."""
        return pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=rules.ISSUER)

    async def confirm(self, transaction: AsyncSession, user: User, code: str) -> Sequence[str] | None:
        """Turns a factor on whose code was given, and returns its recovery codes; None when the code is wrong."""
        if not await self._use_app_code(transaction, user, code):
            return None
        if not await store.confirm_factor(transaction, user.user_id, self._clock()):
            raise rules.failed("on")
        return await self.replace_recovery_codes(transaction, user)

    async def use(self, transaction: AsyncSession, user: User, code: str) -> bool:
        """Uses a code of the app or a recovery code up, and tells whether it was good."""
        if rules.is_app_code(code):
            return await self._use_app_code(transaction, user, code)
        code_hash = rules.hash_recovery_code(user.user_id, code)
        if not await store.use_recovery_code(transaction, user.user_id, code_hash):
            return False
        left = await store.count_recovery_codes(transaction, user.user_id)
        details = {"recovery_codes": str(left)}
        actor = by_user(user.user_id)
        await self._audit.add(transaction, AuditKind.RECOVERY_CODE_USED, user.account_id, actor=actor, after=details)
        return True

    async def replace_recovery_codes(self, transaction: AsyncSession, user: User) -> Sequence[str]:
        """Draws new recovery codes in place of the former ones, and returns them."""
        drawn = [self._random_bytes(rules.RECOVERY_CODE_BYTES) for _ in range(rules.RECOVERY_CODE_COUNT)]
        codes = [rules.format_recovery_code(each) for each in drawn]
        hashes = [rules.hash_recovery_code(user.user_id, code) for code in codes]
        await store.replace_recovery_codes(transaction, user.user_id, user.account_id, hashes)
        return codes

    async def _use_app_code(self, transaction: AsyncSession, user: User, code: str) -> bool:
        factor = await store.find_factor(transaction, user.user_id)
        if factor is None:
            return False
        secret = self._seal.open(factor.sealed_secret, user.user_id.bytes).decode()
        step = _step_of(secret, code.replace(" ", ""), self._clock())
        return step != _NEVER and await store.use_step(transaction, user.user_id, step)


def _step_of(secret: str, code: str, now: datetime) -> int:
    """Returns the time step whose code was given, of the present one and its neighbours."""
    present = int(now.timestamp()) // rules.STEP_SECONDS
    totp = pyotp.TOTP(secret)
    found = _NEVER
    for step in range(present - rules.DRIFT_STEPS, present + rules.DRIFT_STEPS + 1):
        # Every step is compared, so that the time tells nothing.
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()):
            found = step
    return found

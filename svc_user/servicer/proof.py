"""Makes sure that it is the owner who calls, before something that changes who can get into an account."""

from collections.abc import Callable
from datetime import datetime

from svc_common.caller import current_account, current_caller
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_user import domain
from svc_user.domain import second_factors as rules
from svc_user.domain.audit import AuditKind
from svc_user.servicer.passwords import PasswordHasher
from svc_user.servicer.throttle import Throttle
from svc_user.store import queries
from svc_user.store.models import User
from svc_user.usecases.audit import AuditTrail
from svc_user.usecases.second_factors import SecondFactors


class OwnerProof:
    """Wants the password, or a session that has just begun: a page that was left open is no proof.

    Whoever has a second factor gives a code with the password. A session that has just begun took both steps.
    """

    def __init__(
        self,
        *,
        database: Database,
        passwords: PasswordHasher,
        factors: SecondFactors,
        throttle: Throttle,
        audit: AuditTrail,
        clock: Callable[[], datetime],
    ) -> None:
        """Takes the database under the requests role."""
        self._database = database
        self._passwords = passwords
        self._factors = factors
        self._audit = audit
        self._throttle = throttle
        self._clock = clock

    async def require(self, user: User, context: object, *, password: str = "", code: str = "") -> None:
        """Returns if the caller gave the user's password and second factor, or no password and has just signed in.

        Raises:
            ServiceError: LOGIN_FAILED, SECOND_FACTOR_CODE_MISSING, SECOND_FACTOR_FAILED, FRESH_SIGN_IN_REQUIRED, OVERLOADED,
                RATE_LIMITED.
        """
        if not password:
            await self._require_fresh_session(user)
            return
        async with self._throttle.login(user.email, context):
            if not (await self._passwords.check(user.password_hash, domain.normalise_password(password))).matches:
                raise ServiceError(Reason.LOGIN_FAILED, "The password is wrong.")
        await self._require_second_factor(user, code, context)

    async def _require_second_factor(self, user: User, code: str, context: object) -> None:
        async with self._database.transaction(user.account_id) as transaction:
            if not await self._factors.is_on(transaction, user):
                return
        if not code:
            message = "You have a second factor: give a code of your authenticator app, or a recovery code, as well."
            raise ServiceError(Reason.SECOND_FACTOR_CODE_MISSING, message)
        async with self._throttle.second_factor(user.email, context):
            async with self._database.transaction(user.account_id) as transaction:
                if await self._factors.use(transaction, user, code):
                    return
            async with self._database.transaction(user.account_id) as transaction:
                await self._audit.add(transaction, AuditKind.SECOND_FACTOR_FAILED, user.account_id)
            raise rules.failed("code")

    async def _require_fresh_session(self, user: User) -> None:
        session_id = current_caller().session_id
        if session_id is None:
            raise LookupError("the present call has no session")
        async with self._database.transaction(current_account()) as transaction:
            began = await queries.find_session_begin(transaction, user.user_id, session_id)
        if began is None or self._clock() - began > domain.FRESH_SIGN_IN:
            minutes = int(domain.FRESH_SIGN_IN.total_seconds() // 60)
            raise ServiceError(
                Reason.FRESH_SIGN_IN_REQUIRED,
                f"Give your password, or sign in again and repeat this within {minutes} minutes.",
            )

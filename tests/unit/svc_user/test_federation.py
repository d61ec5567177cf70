"""The rules of signing in at a provider: challenges, attempts, profiles, ways in, and what the settings must say."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from svc_common.errors import Reason, ServiceError
from svc_user.domain import federation
from svc_user.domain.federation import Attempt, Cause, Loopback, Profile, Provider
from tests.factories.user_service import user_settings, write_keys
from tests.harness_postgres import UNREACHABLE_DATABASE

ADDRESS = "ada@example.com"
_texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)
_loopbacks = st.builds(Loopback, port=st.integers(1024, 65535), code_challenge=_texts, state=_texts)


def test_challenge_is_that_of_the_specification() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert federation.code_challenge(verifier) == challenge
    assert federation.check_verifier(verifier, challenge)
    assert not federation.check_verifier(verifier.lower(), challenge)


@given(
    st.sampled_from(Provider), _texts, _texts, st.none() | _loopbacks, st.none() | st.uuids(), st.none() | st.uuids()
)
def test_attempt_survives_being_kept(
    provider: Provider,
    nonce: str,
    verifier: str,
    loopback: Loopback | None,
    user_id: UUID | None,
    account_id: UUID | None,
) -> None:
    attempt = Attempt(provider, federation.hash_secret(nonce), nonce, verifier, loopback, user_id, account_id)
    assert Attempt.from_document(attempt.to_document()) == attempt


@pytest.mark.parametrize(
    ("provider", "secret"), [(Provider.DISCORD, "mine"), (Provider.GOOGLE, "another"), (Provider.GOOGLE, "")]
)
def test_attempt_refuses_another_provider_or_browser(provider: Provider, secret: str) -> None:
    attempt = Attempt(Provider.GOOGLE, federation.hash_secret("mine"), "nonce", "verifier")
    attempt.check(Provider.GOOGLE, "mine")
    with pytest.raises(ServiceError) as refused:
        attempt.check(provider, secret)
    assert refused.value.metadata["cause"] == "state"


@pytest.mark.parametrize("subject", [None, "", 17, "1" * 256, "with space", "nul\0", "ключ", ["1"]])
def test_profile_without_a_subject_is_nobodys(subject: object) -> None:
    with pytest.raises(ServiceError) as refused:
        federation.checked_profile(Provider.GOOGLE, subject=subject, email=ADDRESS, email_verified=True, name="Ada")
    assert (refused.value.reason, refused.value.metadata["cause"]) == (Reason.PROVIDER_SIGN_IN_FAILED, "identity")


@pytest.mark.parametrize("verified", [False, None, "true", "True", 1, "yes", {"email": True}])
def test_address_counts_as_verified_only_when_the_provider_says_true(verified: object) -> None:
    profile = federation.checked_profile(
        Provider.DISCORD, subject="1", email=ADDRESS, email_verified=verified, name="Ada"
    )
    with pytest.raises(ServiceError) as refused:
        federation.require_verified_email(Provider.DISCORD, profile)
    assert refused.value.reason is Reason.IDENTITY_EMAIL_UNVERIFIED


@pytest.mark.parametrize(
    "email", [None, "", "ada", "@", "a@b@c", "a b@example.com", "a\0@example.com", "a" * 251 + "@x.y"]
)
def test_text_that_is_no_address_is_none_however_verified(email: object) -> None:
    profile = federation.checked_profile(Provider.GOOGLE, subject="1", email=email, email_verified=True, name="")
    assert (profile.email, profile.email_verified) == ("", False)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("  Ada  ", "Ada"), ("", "ada"), ("evil\u202eeman", "ada"), ("a\nb", "ada"), ("x" * 300, "x" * 80)],
)
def test_name_of_a_new_user_is_one_that_may_be_shown(name: str, shown: str) -> None:
    assert federation.display_name_of(Profile("1", ADDRESS, email_verified=True, name=name)) == shown


def test_last_way_in_stays() -> None:
    federation.check_way_in(has_password=True, identity_count=0)
    federation.check_way_in(has_password=False, identity_count=1)
    with pytest.raises(ServiceError) as refused:
        federation.check_way_in(has_password=False, identity_count=0)
    assert refused.value.reason is Reason.LAST_WAY_IN


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_words(cause: Cause) -> None:
    error = federation.sign_in_failed(Provider.GOOGLE, cause, detail="the claim aud is wrong")
    assert "{" not in error.message
    assert error.message.endswith((".", "want to."))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"google_client_id": "us"}, "GOOGLE_CLIENT_SECRET_FILE"),
        ({"discord_client_id": "us", "studio_url": "https://studio.example"}, "DISCORD_CLIENT_SECRET_FILE"),
        ({"google_issuer": "http://accounts.example"}, "google_issuer"),
        ({"discord_url": "http://127.0.0.1.example"}, "discord_url"),
        ({"studio_url": "ftp://studio.example"}, "studio_url"),
    ],
)
def test_settings_of_a_provider_that_are_not_whole_are_refused(
    tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        user_settings(UNREACHABLE_DATABASE, write_keys(tmp_path), **changed)

"""The rules of addresses, names, passwords as text, and refresh token families."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc_common.errors import Reason, ServiceError
from svc_user import domain
from svc_user.domain import PresentedToken, RefreshOutcome

LOGIN_TIME = datetime(2026, 11, 20, 12, tzinfo=UTC)
ROTATE_TIME = LOGIN_TIME + timedelta(hours=1)


def presented(
    *, token_generation: int = 5, expire_time: datetime | None = None, revoke_time: datetime | None = None
) -> PresentedToken:
    """Returns a token of a family whose fifth generation began at ROTATE_TIME."""
    return PresentedToken(
        session_id=UUID(int=1),
        user_id=UUID(int=2),
        account_id=UUID(int=2),
        token_generation=token_generation,
        generation=5,
        rotate_time=ROTATE_TIME,
        create_time=LOGIN_TIME,
        expire_time=expire_time or domain.session_expire_time(LOGIN_TIME, ROTATE_TIME),
        revoke_time=revoke_time,
    )


@pytest.mark.parametrize(
    ("token_generation", "seconds", "outcome"),
    [
        (5, 0, RefreshOutcome.ROTATE),
        (5, 3600, RefreshOutcome.ROTATE),
        (4, 0, RefreshOutcome.REISSUE),
        (4, -1, RefreshOutcome.REISSUE),  # Another replica's clock, a little ahead, wrote the rotation.
        (4, 10, RefreshOutcome.REISSUE),
        (4, 10.001, RefreshOutcome.REUSED),
        (3, 0, RefreshOutcome.REUSED),
        (1, 0, RefreshOutcome.REUSED),
    ],
)
def test_decide_refresh_depends_on_generation_and_age(
    token_generation: int, seconds: float, outcome: RefreshOutcome
) -> None:
    now = ROTATE_TIME + timedelta(seconds=seconds)

    assert domain.decide_refresh(presented(token_generation=token_generation), now) is outcome


@pytest.mark.parametrize("token_generation", [5, 4, 3])
def test_decide_refresh_refuses_every_generation_when_session_ended(token_generation: int) -> None:
    revoked = presented(token_generation=token_generation, revoke_time=ROTATE_TIME)
    expired = presented(token_generation=token_generation, expire_time=ROTATE_TIME)

    assert domain.decide_refresh(revoked, ROTATE_TIME) is RefreshOutcome.REFUSED
    assert domain.decide_refresh(expired, ROTATE_TIME) is RefreshOutcome.REFUSED


def test_session_expire_time_ends_idle_session_after_fourteen_days() -> None:
    used = LOGIN_TIME + timedelta(days=3)

    assert domain.session_expire_time(LOGIN_TIME, used) == used + timedelta(days=14)


def test_session_expire_time_never_exceeds_thirty_days_after_login() -> None:
    used = LOGIN_TIME + timedelta(days=29)

    assert domain.session_expire_time(LOGIN_TIME, used) == LOGIN_TIME + timedelta(days=30)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_refresh_tokens_differ_when_their_secrets_differ(one: bytes, other: bytes) -> None:
    tokens = domain.format_refresh_token(one), domain.format_refresh_token(other)

    assert (tokens[0] == tokens[1]) == (one == other)
    assert (domain.hash_refresh_token(tokens[0]) == domain.hash_refresh_token(tokens[1])) == (one == other)


def test_hash_refresh_token_hides_the_token() -> None:
    token = domain.format_refresh_token(bytes(32))

    assert len(domain.hash_refresh_token(token)) == 32
    assert token.encode() not in domain.hash_refresh_token(token)


def test_normalise_email_ignores_case() -> None:
    assert domain.normalise_email("Ada.Lovelace@Example.COM") == "ada.lovelace@example.com"


@given(st.text())
def test_normalise_email_gives_storable_text_that_is_its_own_normal_form(email: str) -> None:
    normalised = domain.normalise_email(email)

    assert "\0" not in normalised
    assert domain.normalise_email(normalised) == normalised


def test_normalise_password_equates_composed_and_decomposed_letters() -> None:
    assert domain.normalise_password("caf\u00e9 caf\u00e9") == domain.normalise_password("cafe\u0301 cafe\u0301")


def test_normalise_password_keeps_case_and_space() -> None:
    assert domain.normalise_password(" Pass Word ") == b" Pass Word "


@pytest.mark.parametrize(
    ("given_name", "shown_name"),
    [
        ("", "ada"),
        ("   ", "ada"),
        ("Ada", "Ada"),
        ("  Ada L. ", "Ada L."),
        ("\U0001f469\u200d\U0001f52c", "\U0001f469\u200d\U0001f52c"),
    ],
)
def test_choose_display_name_falls_back_to_the_address_when_blank(given_name: str, shown_name: str) -> None:
    assert domain.choose_display_name(given_name, "ada@example.com") == shown_name


def test_choose_display_name_cuts_a_long_local_part() -> None:
    assert domain.choose_display_name("", "a" * 200 + "@example.com") == "a" * 80


@pytest.mark.parametrize("name", ["", " \t ", "a\0b", "a\nb", "a\u2028b", "a\x1b[31mb", "a\x7f"])
def test_clean_display_name_refuses_names_that_could_forge_lines(name: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        domain.clean_display_name(name)

    assert refusal.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.value.violations] == ["display_name"]


@pytest.mark.parametrize(
    "name",
    ["ada\u202etxt.exe", "\u2067ada", "a\u200bda", "ada\ufeff", "\u3164", "\u200d", "\u0301", "ad\u00ada", "a\u200fb"],
)
def test_clean_display_name_refuses_names_that_show_as_others(name: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        domain.clean_display_name(name)
    assert refusal.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize(
    "name", ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "👩\u200d🚀", "김철수", "Zoë", "שלום", "👍🏽"]
)
def test_clean_display_name_keeps_names_of_all_scripts(name: str) -> None:
    assert domain.clean_display_name(name) == name


@pytest.mark.parametrize(
    ("paths", "present"),
    [([], ["display_name"]), ([], []), (["display_name"], ["display_name"]), (["locale"], ["display_name", "locale"])],
)
def test_check_update_mask_accepts_what_can_be_changed(paths: list[str], present: list[str]) -> None:
    domain.check_update_mask(paths, present)


@pytest.mark.parametrize(
    ("paths", "present", "fields"),
    [
        (["email"], ["display_name"], ["update_mask"]),
        (["display_name", "email", "user_id"], ["display_name"], ["update_mask", "update_mask"]),
        (["*"], ["display_name"], ["update_mask"]),
        (["display_name"], [], ["display_name"]),
        (["locale"], ["display_name"], ["locale"]),
    ],
)
def test_check_update_mask_refuses_what_cannot_be_changed(
    paths: list[str],
    present: list[str],
    fields: list[str],
) -> None:
    with pytest.raises(ServiceError) as refusal:
        domain.check_update_mask(paths, present)

    assert refusal.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refusal.value.violations] == fields


@pytest.mark.parametrize(
    ("named", "header", "locale"),
    [
        ("ko", "en", "ko"),
        ("", "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("", "fr, KO", "ko"),
        ("", "en-GB, ko", "en"),
        ("", "fr", "en"),
        ("", "", "en"),
    ],
)
def test_choose_locale_takes_the_first_language_that_we_have(named: str, header: str, locale: str) -> None:
    assert domain.choose_locale(named, header) == locale


def test_retry_delay_grows_and_stays_bounded() -> None:
    delays = [domain.retry_delay(attempt).total_seconds() for attempt in (1, 2, 3, 5, 6, 10_000)]

    assert delays == [30, 60, 120, 480, 900, 900]

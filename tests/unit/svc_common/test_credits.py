"""Credits as text and as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc_common.credits import format_credits, parse
from svc_common.errors import Reason, ServiceError


@given(st.integers(min_value=-(10**17), max_value=10**17))
def test_amount_survives_being_written_and_read(millicredits: int) -> None:
    assert parse(format_credits(millicredits)) == millicredits


@pytest.mark.parametrize(
    ("text", "millicredits"),
    [("0", 0), ("1", 1000), ("12.345", 12345), ("0.5", 500), ("0.05", 50), ("-1.001", -1001), ("007", 7000)],
)
def test_parse_reads_decimal_credits(text: str, millicredits: int) -> None:
    assert parse(text) == millicredits


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".5", "1.2345", "1,5", "1e3", "+1", " 1", "1 ", "NaN", "\u0661", "1" * 16, "--1"]
)
def test_parse_refuses_other_texts_and_names_the_field(text: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parse(text, "price")
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.violations[0].field == "price"


@pytest.mark.parametrize(("millicredits", "text"), [(0, "0.000"), (1, "0.001"), (-1, "-0.001"), (12345, "12.345")])
def test_format_always_has_three_decimals(millicredits: int, text: str) -> None:
    assert format_credits(millicredits) == text

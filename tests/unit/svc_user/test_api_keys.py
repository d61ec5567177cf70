"""The form of API keys."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc_user import domain

_KEY = domain.new_api_key("live", bytes(range(8)), bytes(range(32)))

_some_key = st.builds(
    domain.new_api_key,
    st.sampled_from(["live", "test"]),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=32, max_size=32),
)


@given(_some_key)
def test_api_key_is_one_word_of_known_form_that_tells_its_id(key: domain.NewApiKey) -> None:
    assert re.fullmatch(r"pgv_(live|test)_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", key.text)
    assert domain.id_of_api_key(key.text) == key.api_key_id == key.text.split("_")[2]
    assert domain.hash_api_key(key.text) == key.key_hash


@given(_some_key, st.data())
def test_api_key_with_one_wrong_letter_is_none(key: domain.NewApiKey, data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(key.text) - 1))
    letter = data.draw(st.sampled_from("aZ09_-").filter(lambda letter: letter != key.text[place]))

    assert domain.id_of_api_key(key.text[:place] + letter + key.text[place + 1 :]) is None


@pytest.mark.parametrize("text", ["", "pgv_", _KEY.text + "\n", " " + _KEY.text, _KEY.text[:-1], _KEY.text.upper()])
def test_text_that_is_no_key_has_no_id(text: str) -> None:
    assert domain.id_of_api_key(text) is None


def test_secrets_of_all_zeros_and_all_ones_have_the_usual_length() -> None:
    keys = [domain.new_api_key("live", byte * 8, byte * 32) for byte in (b"\0", b"\xff")]

    assert {len(key.text) for key in keys} == {len(_KEY.text)}

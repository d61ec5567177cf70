"""The certificates of a stack: kept while they last, made anew before they end."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509

from studio.stack.certificates import Certificates

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "ca.pem", tmp_path / "keys")


def test_certificates_are_kept_while_they_last(certificates: Certificates) -> None:
    made = certificates.ensure("edge", NOW)
    before = [file.read_bytes() for file in (made.authority, made.certificate, made.key)]

    certificates.ensure("edge", NOW + dt.timedelta(days=300))

    assert [file.read_bytes() for file in (made.authority, made.certificate, made.key)] == before


def test_certificate_that_is_about_to_end_is_made_anew_by_the_same_authority(certificates: Certificates) -> None:
    made = certificates.ensure("edge", NOW)
    before, authority = made.certificate.read_bytes(), made.authority.read_bytes()
    later = NOW + dt.timedelta(days=350)

    certificates.ensure("edge", later)

    assert made.certificate.read_bytes() != before
    assert made.authority.read_bytes() == authority
    assert x509.load_pem_x509_certificate(made.certificate.read_bytes()).not_valid_after_utc > later


def test_certificate_of_a_lost_authority_is_made_anew(certificates: Certificates) -> None:
    made = certificates.ensure("edge", NOW)
    before = made.certificate.read_bytes()
    made.authority.unlink()

    certificates.ensure("edge", NOW)

    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    certificate.verify_directly_issued_by(authority)
    assert made.certificate.read_bytes() != before


@pytest.mark.parametrize("name", ["edge", "svc_user"])
def test_browsers_take_the_certificate(certificates: Certificates, name: str) -> None:
    made = certificates.ensure(name, NOW)
    certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    # Longer ones are refused.
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc < dt.timedelta(days=398)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]

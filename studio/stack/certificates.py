"""The certificates of a stack with TLS: an authority of its own, and one certificate for each process.

The authority may sign for no other name than localhost, so that whoever trusts it trusts no site of the web by it. It lasts
for ten years, and what it signs for a year; what is about to expire is made anew at the next start.
"""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from studio.stack.layout import Layout
from studio.stack.user_keys import write_private
from svc_common.mutual_tls import MutualTls
from svc_common.registry import CALLERS

EDGE_NAME: Final = "edge"

_AUTHORITY_LIFE: Final = dt.timedelta(days=3650)
# Browsers refuse certificates of more than 398 days.
_LIFE: Final = dt.timedelta(days=365)
_LEAST_LEFT: Final = dt.timedelta(days=30)
# Clocks of virtual machines differ by a few minutes.
_TOLERANCE: Final = dt.timedelta(hours=1)
_NAMES: Final[list[x509.GeneralName]] = [
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
]
# No other name. Addresses can't be constrained: the TLS library of gRPC refuses authorities that do.
_PERMITTED: Final[list[x509.GeneralName]] = [x509.DNSName("localhost")]


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the certificates of a stack are; `ensure` makes them."""

    # The authority's certificate, for everybody to see.
    authority: Path
    # Its key and everything else, for the owner alone.
    folder: Path

    def of(self, name: str) -> MutualTls:
        """Returns the files of one process."""
        return MutualTls(self.folder / f"{name}.crt", self.folder / f"{name}.key", self.authority)

    def ensure(self, name: str, now: dt.datetime) -> MutualTls:
        """Makes the certificate of a process, and the authority, unless they are there and last for a month."""
        issuer, issuer_key = self._ensure_authority(now)
        files = self.of(name)
        if not _lasts(files.certificate, now, signed_by=issuer):
            key = ec.generate_private_key(ec.SECP256R1())
            builder = (
                _builder(_named(f"Pingvas Studio {name}"), issuer.subject, key, now, _LIFE)
                .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(
                    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                    critical=False,
                )
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
                )
            )
            _write(builder.sign(issuer_key, hashes.SHA256()), key, files.certificate, files.key)
        return files

    def _ensure_authority(self, now: dt.datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key_file = self.folder / "ca.key"
        if not _lasts(self.authority, now) or not key_file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            # Browsers tell authorities of the same name apart by their keys; people by the day.
            name = _named(f"Pingvas Studio on this machine, {now:%Y-%m-%d}")
            builder = (
                _builder(name, name, key, now, _AUTHORITY_LIFE)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(x509.NameConstraints(_PERMITTED, None), critical=True)
                .add_extension(_SIGNS_ONLY, critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            )
            _write(builder.sign(key, hashes.SHA256()), key, self.authority, key_file)
        loaded = load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key_file} holds no key on an elliptic curve")
        return x509.load_pem_x509_certificate(self.authority.read_bytes()), loaded


_SIGNS_ONLY: Final = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


def tls_of(layout: Layout, name: str) -> MutualTls | None:
    """Returns the files of a process in a stack, or None in one without TLS."""
    return certificates_of(layout).of(name) if layout.tls else None


def certificates_of(layout: Layout) -> Certificates:
    """Returns where the certificates of a stack are."""
    return Certificates(layout.authority, layout.keys / "tls")


def ensure_certificates(layout: Layout) -> None:
    """Makes the certificate of each process of a stack with TLS, and none without."""
    if layout.tls:
        now = dt.datetime.now(dt.UTC)
        for name in (EDGE_NAME, *CALLERS):
            certificates_of(layout).ensure(name, now)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime, life: dt.timedelta
) -> x509.CertificateBuilder:
    serial = x509.random_serial_number()
    return x509.CertificateBuilder(issuer, subject, key.public_key(), serial, now - _TOLERANCE, now + life)


def _lasts(file: Path, now: dt.datetime, signed_by: x509.Certificate | None = None) -> bool:
    if not file.exists():
        return False
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    if signed_by is not None:
        try:
            certificate.verify_directly_issued_by(signed_by)
        except (InvalidSignature, TypeError, ValueError):
            return False
    return certificate.not_valid_after_utc - now > _LEAST_LEFT


def _write(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, file: Path, key_file: Path) -> None:
    key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.write_bytes(certificate.public_bytes(Encoding.PEM))

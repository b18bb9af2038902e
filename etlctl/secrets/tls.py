"""An authority of the stack's own, and a certificate for each server that can speak TLS.

``cryptography`` and not ``trustme``: the latter is made for tests and decides validity, key usage
and file layout itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import ConfigError
from etlctl.secrets.folder import Folder

Clock = Callable[[], datetime]

AUTHORITY = "tls_ca"
# The services that can serve TLS, by the name that others reach them under.
SERVERS = {
    "tls_prometheus": "prometheus",
    "tls_grafana": "grafana",
    "tls_etl-simulator": "etl-simulator",
    "tls_redis": "redis",
}
ALL_SERVERS = "tls"
NAMES = (AUTHORITY, *SERVERS)
FILES = tuple(f"{name}.{end}" for name in NAMES for end in ("key", "crt"))

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397  # what browsers accept of a server at most
RENEW_DAYS = 30
# Clocks of two machines differ a little.
_BEFORE = timedelta(hours=1)


def utc_now() -> datetime:
    """The time, as certificates hold it."""
    return datetime.now(UTC)


def complete(folder: Folder) -> Iterator[tuple[str, bool]]:
    """Make the files that are missing; (name, whether it was made) for each pair.

    A key without certificate gets one; a certificate without its key is an error.
    """
    for name in NAMES:
        key_file, certificate_file = f"{name}.key", f"{name}.crt"
        if folder.has(certificate_file):
            if not folder.has(key_file):
                raise ConfigError(
                    f"{folder.where(key_file)}: is missing, and its certificate is there: "
                    f"run `etlctl secrets rotate {name}`"
                )
            yield name, False
            continue
        if not folder.has(key_file):
            folder.create(key_file, _pem_of_key(_new_key()))
        folder.create(certificate_file, _certify(folder, name))
        yield name, True


def renew(folder: Folder, name: str) -> tuple[str, ...]:
    """A new key and certificate; for the authority also those of every server. What was renewed."""
    names = {AUTHORITY: NAMES, ALL_SERVERS: tuple(SERVERS)}.get(name, (name,))
    for each in names:
        folder.replace(f"{each}.key", _pem_of_key(_new_key()))
        folder.replace(f"{each}.crt", _certify(folder, each))
    return names


def problems(folder: Folder, now: Clock) -> Iterator[str]:
    """One sentence for each certificate that is not what it should be; all files exist."""
    authority = _read_certificate(folder, AUTHORITY)
    for name in NAMES:
        where = folder.where(f"{name}.crt")
        again = f"run `etlctl secrets rotate {name}`"
        certificate = _read_certificate(folder, name)
        if certificate.public_key() != _read_key(folder, name).public_key():
            yield f"{where}: belongs to another key: {again}"
            continue
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            yield f"{where}: is not from the authority in {AUTHORITY}.crt: {again}"
            continue
        if name in SERVERS and _names_in(certificate) != set(_alternative_names(SERVERS[name])):
            yield f"{where}: is for other names than {SERVERS[name]}, localhost: {again}"
        left = certificate.not_valid_after_utc - now()
        if left < timedelta(0):
            yield f"{where}: has expired: {again}"
        elif left < timedelta(days=RENEW_DAYS):
            yield f"{where}: expires in {left.days} days: {again}"


def _certify(folder: Folder, name: str) -> bytes:
    """A certificate for the key that is there; signed by the authority, by itself for that."""
    key = _read_key(folder, name)
    is_authority = name == AUTHORITY
    now = utc_now()
    common_name = "ETL stack authority" if is_authority else SERVERS[name]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    if is_authority:
        issuer, signer = subject, key
    else:
        issuer = _read_certificate(folder, AUTHORITY).subject
        signer = _read_key(folder, AUTHORITY)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS if is_authority else SERVER_DAYS))
        .add_extension(
            x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None),
            critical=True,
        )
        .add_extension(_usage(is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if not is_authority:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(list(_alternative_names(SERVERS[name]))), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(host: str) -> Iterator[x509.GeneralName]:
    yield x509.DNSName(host)
    yield x509.DNSName("localhost")
    yield x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def _names_in(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(extension.value)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _read_key(folder: Folder, name: str) -> ec.EllipticCurvePrivateKey:
    file = f"{name}.key"
    try:
        key = serialization.load_pem_private_key(folder.read(file), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{folder.where(file)}: is not an EC private key: rotate {name}")
    return key


def _read_certificate(folder: Folder, name: str) -> x509.Certificate:
    file = f"{name}.crt"
    try:
        return x509.load_pem_x509_certificate(folder.read(file))
    except ValueError:
        raise ConfigError(f"{folder.where(file)}: is not a certificate: rotate {name}") from None

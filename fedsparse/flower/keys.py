"""Certificates of a SuperLink and keys of nodes: a small authority of one's own, for closed groups of devices."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fedsparse.errors import ConfigError
from fedsparse.files import make_folder

__all__ = ["Keys", "make_keys"]

_DAYS = 825
"""How long certificates are good; what many programs accept at most."""


@dataclass(frozen=True)
class Keys:
    """Where the files lie: ``ca.pem``, ``server.pem``, ``server.key``, ``node-0.key``, ``node-0.pub`` and so on."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that everybody needs, to know the server."""
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.folder / "server.pem"

    @property
    def secret(self) -> Path:
        """The server's secret key."""
        return self.folder / "server.key"

    def node(self, number: int) -> Path:
        """The secret key of a node; its public one, to be registered with the server, ends with ``.pub``."""
        return self.folder / f"node-{number}.key"


def make_keys(folder: Path, nodes: int, hosts: Sequence[str] = ()) -> Keys:
    """Makes an authority, the server's certificate, and a pair of keys for each node.

    The authority's own key is not kept: whoever wants more certificates makes a new authority.

    Args:
        folder: a new or empty one.
        nodes: how many.
        hosts: names and addresses of the server besides ``localhost`` and 127.0.0.1.

    Raises:
        ConfigError: there is something in the folder.
        ResourceError: it cannot be written to.
    """
    make_folder(folder)
    if any(folder.iterdir()):
        raise ConfigError(f"{folder}: is not empty, and keys are never overwritten; give a new folder")
    keys = Keys(folder)
    authority, own = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    name = _name("fedsparse authority")
    root = _builder(name, name, authority.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    root = root.add_extension(usage, critical=True).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False
    )
    server = _builder(_name("fedsparse server"), name, own.public_key())
    server = server.add_extension(
        x509.SubjectAlternativeName([_host(h) for h in ("localhost", "127.0.0.1", *hosts)]), critical=False
    ).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False
    )
    _public(keys.authority, root.sign(authority, hashes.SHA384()).public_bytes(serialization.Encoding.PEM))
    _public(
        keys.certificate, server.sign(authority, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)
    )
    _secret(keys.secret, own, serialization.PrivateFormat.TraditionalOpenSSL)
    for number in range(nodes):
        pair = ec.generate_private_key(ec.SECP384R1())
        _secret(keys.node(number), pair, serialization.PrivateFormat.OpenSSH)
        ssh = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        _public(keys.node(number).with_suffix(".pub"), pair.public_key().public_bytes(*ssh) + b"\n")
    return keys


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + timedelta(days=_DAYS))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _secret(path: Path, key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> None:
    """Writes a key that only this user can read."""
    text = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)


def _public(path: Path, data: bytes) -> None:
    path.write_bytes(data)

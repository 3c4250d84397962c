"""Signed manifests: ``manifest.sig``, the ed25519 signature (RFC 8032, 64 bytes) of the bytes of
``manifest.json``.

The manifest fixes every other file by its SHA-256, so the signature is of the whole bundle. Keys are PEM
files: the private one PKCS #8 without a password, the public one SubjectPublicKeyInfo, as ``openssl genpkey
-algorithm ed25519`` and ``openssl pkey -pubout`` write them. Needs ``pip install 'karec[signing]'``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.bundle.manifest import MANIFEST, SIGNATURE
from karec.errors import BundleError, MissingExtra
from karec.files import read_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MOST_BYTES = 16384  # of a key file; one of ed25519 has some 120
SIGNATURE_BYTES = 64


def check_signature(folder: Path, manifest: bytes, key: Path) -> None:
    """Raises BundleError unless ``manifest``, that of ``folder``, is signed by the owner of the key in
    ``key``."""
    public = _read_public_key(key)
    from cryptography.exceptions import InvalidSignature

    path = folder / SIGNATURE
    if not path.exists():
        raise BundleError(f"{folder} is not signed: it has no {SIGNATURE}, and a key is given ({key})")
    try:
        public.verify(_read_signature(path), manifest)
    except InvalidSignature as error:
        raise BundleError(
            f"{path} is not the signature of {MANIFEST} by the owner of {key}: the bundle was altered, or "
            "signed with another key"
        ) from error


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """Raises BundleError when the file holds no private ed25519 key, or one with a password."""
    serialization = _serialization()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(_read_key(path), password=None)
    except BundleError:
        raise
    except TypeError as error:  # it asks for the password
        raise BundleError(f"{path} is protected by a password; karec reads keys that have none") from error
    except Exception as error:  # the library raises errors of several kinds for what is no key
        raise BundleError(f"{path} holds no private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(
            f"{path} holds a key of another kind ({type(key).__name__}); bundles are signed by ed25519"
        )
    return key


def _read_public_key(path: Path) -> Ed25519PublicKey:
    serialization = _serialization()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(_read_key(path))
    except BundleError:
        raise
    except Exception as error:  # the library raises errors of several kinds for what is no key
        raise BundleError(f"{path} holds no public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(
            f"{path} holds a key of another kind ({type(key).__name__}); bundles are signed by ed25519"
        )
    return key


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise MissingExtra("cryptography", "signing", "a signed bundle") from error
    return serialization


def _read_signature(path: Path) -> bytes:
    try:
        return read_bytes(path, SIGNATURE_BYTES)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{path} is not the signature of {MANIFEST}: {error}") from error


def _read_key(path: Path) -> bytes:
    """A key is the caller's own, and may come through a pipe."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error

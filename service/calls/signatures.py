"""Whether a file is signed with a key. The library of cryptography is loaded only where that is asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from service.calls.errors import ArgumentInvalid, SignatureInvalid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    Key: TypeAlias = Ed25519PublicKey


def read_key(pem: str) -> "Key":
    """Return the public key in a PEM. Raises ArgumentInvalid."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ArgumentInvalid("the public key is no Ed25519 key in PEM")
    return key


def check(key: "Key", signature: bytes, path: Path, artifact_id: str) -> None:
    """See that a file is signed with a key.

    Raises:
        SignatureInvalid: it is not.
        OSError: it cannot be read.
    """
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, path.read_bytes())
    except InvalidSignature:
        raise SignatureInvalid(artifact_id) from None

"""Signatures of files: Ed25519 (RFC 8032) over their bytes; openssl and every library of cryptography verify them."""

import hashlib
import os
import tempfile
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.errors import SettingInvalid
from service.settings import Settings

ALGORITHM = "ed25519"
# The key that a service on one machine makes for itself, in its data folder.
KEY_FILE = "signing-key.pem"


class Signer:
    """Signs with one private key; safe to share between threads."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        public = key.public_key()
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self._key = key
        # The first half of the SHA-256 of the public key's 32 bytes, hexadecimal.
        self.key_id = hashlib.sha256(raw).hexdigest()[:32]
        self.public_pem = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    def sign(self, content: bytes) -> bytes:
        """Return the signature, 64 bytes; the same content has the same one."""
        return self._key.sign(content)


def open_signer(settings: Settings) -> Signer | None:
    """Return who signs: with the key that is set, else with one of the data folder, made where there is none.

    None where several machines would each make a key of their own: there it has to be set.

    Raises:
        SettingInvalid: the file holds no private key of this kind, or cannot be read or written.
    """
    if settings.signing_key is not None:
        return Signer(_read(settings.signing_key, "NNF_SIGNING_KEY names"))
    if settings.database_url is not None:
        return None
    path = settings.data_dir / KEY_FILE
    try:
        _make(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise SettingInvalid(f"cannot write {path}: {error.strerror}") from error
    return Signer(_read(path, "the key that signs is"))


def _make(path: Path) -> None:
    """Write a new key, whole or not at all, readable by its owner alone. Raises FileExistsError where there is one."""
    if path.exists():
        raise FileExistsError(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Of two that begin at once the first one's key counts.
        os.link(draft, path)
    finally:
        Path(draft).unlink()


def _read(path: Path, told: str) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingInvalid(f"{told} {path}, which cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingInvalid(f"{told} {path}, which is no Ed25519 private key in PEM without a password")
    return key

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.calls.errors import ArgumentInvalid, SignatureInvalid
from service.calls.signatures import check, read_key


def pem_of(key: PublicKeyTypes) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_what_a_key_has_signed_passes_and_nothing_else(tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    key = read_key(pem_of(private.public_key()))
    check(key, private.sign(b"a model"), path, "art_1")
    for signature in (private.sign(b"another"), Ed25519PrivateKey.generate().sign(b"a model"), b""):
        with pytest.raises(SignatureInvalid, match="art_1"):
            check(key, signature, path, "art_1")


@pytest.mark.parametrize(
    "pem", ["", "nonsense", pem_of(generate_private_key(SECP256R1()).public_key())], ids=["", "text", "other"]
)
def test_what_is_no_key_for_this_is_refused(pem: str) -> None:
    with pytest.raises(ArgumentInvalid, match="no Ed25519 key"):
        read_key(pem)

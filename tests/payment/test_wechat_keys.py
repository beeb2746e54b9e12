"""Signing and opening, as properties."""

import base64
import json
import re

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from payment_svc.channels import BadSignature
from payment_svc.channels.wechat_keys import KeyRing, PlatformKeys, authorization, decrypt

KEY = generate_private_key(65537, 2048)
TARGETS = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=1)


@settings(max_examples=40, deadline=None)
@given(TARGETS, st.binary(max_size=200), st.sampled_from(["GET", "POST"]))
def test_the_signature_covers_exactly_what_is_sent(target: str, body: bytes, method: str) -> None:
    header = authorization("m", "S", KEY, method, target.encode(), body, 1_700_000_000.9)
    pairs = dict(re.findall(r'(\w+)="([^"]*)"', header))
    assert pairs["timestamp"] == "1700000000"
    head = f"{method}\n{target}\n{pairs['timestamp']}\n{pairs['nonce_str']}\n"
    KEY.public_key().verify(
        base64.b64decode(pairs["signature"]), head.encode() + body + b"\n", PKCS1v15(), SHA256()
    )


@given(st.binary(max_size=300), st.text(max_size=20), st.integers(0, 10_000))
def test_what_is_sealed_is_opened_and_a_flipped_bit_is_not(
    plain: bytes, aad: str, place: int
) -> None:
    key, nonce = b"k" * 32, "nonce-123456"
    sealed = bytearray(AESGCM(key).encrypt(nonce.encode(), plain, aad.encode("utf-8", "ignore")))
    resource = {
        "algorithm": "AEAD_AES_256_GCM",
        "nonce": nonce,
        "associated_data": aad.encode("utf-8", "ignore").decode(),
        "ciphertext": base64.b64encode(sealed).decode(),
    }
    assert decrypt(key, resource) == plain
    sealed[place % len(sealed)] ^= 1
    with pytest.raises(InvalidTag):
        decrypt(key, {**resource, "ciphertext": base64.b64encode(sealed).decode()})


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(
            ["Wechatpay-Timestamp", "wechatpay-nonce", "Wechatpay-Serial", "Wechatpay-Signature"]
        ),
        st.text(max_size=40),
    ),
    st.binary(max_size=50),
)
async def test_no_junk_is_ever_believed_or_breaks_us(headers: dict[str, str], body: bytes) -> None:
    async def fetch() -> KeyRing:
        return {"AB": KEY.public_key()}

    keys = PlatformKeys(fetch, lambda: 1_700_000_000.0)
    fixed = {"Wechatpay-Serial": "AB", "Wechatpay-Timestamp": "1700000000"}
    with pytest.raises(BadSignature):
        await keys.verify({**headers, **fixed}, body)
    with pytest.raises(BadSignature):
        await keys.verify({**fixed, **headers}, json.dumps(headers).encode())


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=1, max_size=80), st.integers(0, 10_000))
async def test_genuine_is_believed_and_one_changed_bit_is_not(body: bytes, place: int) -> None:
    async def fetch() -> KeyRing:
        return {"AB": KEY.public_key()}

    keys = PlatformKeys(fetch, lambda: 1_700_000_000.0)
    signature = KEY.sign(b"1700000000\nn\n" + body + b"\n", PKCS1v15(), SHA256())
    headers = {
        "Wechatpay-Timestamp": "1700000000",
        "Wechatpay-Nonce": "n",
        "WECHATPAY-SERIAL": "00ab",
        "Wechatpay-Signature": base64.b64encode(signature).decode(),
    }
    await keys.verify(headers, body)
    changed = bytearray(body)
    changed[place % len(body)] ^= 1
    with pytest.raises(BadSignature):
        await keys.verify(headers, bytes(changed))

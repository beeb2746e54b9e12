"""All keys of the outside world, made at first start and handed over as files.

    <folder>/wechat/    what WeChat Pay gives its merchant: for payment-svc
    <folder>/sf/        what SF gives its customer: for logistics-svc
    <folder>/sms/       what Aliyun gives a customer of its short messages: for identity-svc
    <folder>/citizens/  what the register of citizens gives: for identity-svc
    <folder>/wechat_mini/  what WeChat gives the owner of a mini-program: for identity-svc
    <folder>/enterprises/  what the register of enterprises gives: for identity-svc
    <folder>/oidc/      what the OpenID provider above us gives: for identity-svc
    <folder>/platform/  WeChat Pay's own keys: for the sandbox alone

Folders have mode 0700, files 0600. Nothing here is ever shipped.
"""

import contextlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID


def provision(folder: Path) -> None:
    """Make whatever is missing; what exists stays as it is. Safe to call twice at once."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _once(folder / "wechat", _wechat_merchant)
    _once(folder / "sf", _sf_account)
    _once(folder / "sms", _sms_account)
    _once(folder / "citizens", _register_account)
    _once(folder / "enterprises", _register_account)
    _once(folder / "wechat_mini", _wechat_mini_account)
    _once(folder / "oidc", _oidc_account)
    _once(folder / "platform", _platform)


@dataclass(frozen=True, slots=True, repr=False)
class PlatformKey:
    """One key pair of WeChat Pay. `serial_no` is upper-case hex."""

    serial_no: str
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    pem: bytes


@dataclass(frozen=True, slots=True, repr=False)
class WeChatSide:
    """What WeChat Pay knows of its merchant, and its own keys, the newest last."""

    mchid: str
    appid: str
    merchant_serial_no: str
    merchant_key: rsa.RSAPublicKey
    apiv3_key: bytes
    platform: tuple[PlatformKey, ...]

    @property
    def current(self) -> PlatformKey:
        """The key that signs."""
        return self.platform[-1]


@dataclass(frozen=True, slots=True, repr=False)
class SFSide:
    """What SF knows of its customer. `push_token` is the secret end of the push address."""

    partner_id: str
    check_word: str
    monthly_card: str
    push_token: str


@dataclass(frozen=True, slots=True, repr=False)
class SMSSide:
    """What Aliyun knows of its customer: key, and the signature and template it approved."""

    access_key_id: str
    access_key_secret: str
    sign_name: str
    template_code: str
    notice_template_code: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class RegisterSide:
    """What a register (of citizens, of firms) knows of the one who asks."""

    app_id: str
    secret: str


@dataclass(frozen=True, slots=True, repr=False)
class WeChatMiniSide:
    """What WeChat knows of a mini-program."""

    appid: str
    secret: str


@dataclass(frozen=True, slots=True, repr=False)
class OidcSide:
    """What the OpenID provider above us knows of its client."""

    client_id: str
    client_secret: str


def read_wechat(folder: Path) -> WeChatSide:
    """Read WeChat Pay's side from a provisioned folder."""
    home = folder / "wechat"
    facts = json.loads((home / "merchant.json").read_text("utf-8"))
    certificate = x509.load_pem_x509_certificate((home / "merchant_cert.pem").read_bytes())
    merchant_key = certificate.public_key()
    if not isinstance(merchant_key, rsa.RSAPublicKey):
        raise ValueError("merchant_cert.pem must hold an RSA key")
    index = json.loads((folder / "platform" / "index.json").read_text("utf-8"))
    return WeChatSide(
        mchid=facts["mchid"],
        appid=facts["appid"],
        merchant_serial_no=_serial(certificate),
        merchant_key=merchant_key,
        apiv3_key=(home / "apiv3_key").read_bytes(),
        platform=tuple(_platform_key(folder / "platform", serial) for serial in index),
    )


def read_sf(folder: Path) -> SFSide:
    """Read SF's side from a provisioned folder."""
    return SFSide(**json.loads((folder / "sf" / "account.json").read_text("utf-8")))


def read_sms(folder: Path) -> SMSSide:
    """Read Aliyun's side from a provisioned folder."""
    return SMSSide(**json.loads((folder / "sms" / "account.json").read_text("utf-8")))


def read_register(folder: Path, name: str) -> RegisterSide:
    """Read the side of a register, `citizens` or `enterprises`, from a provisioned folder."""
    return RegisterSide(**json.loads((folder / name / "account.json").read_text("utf-8")))


def read_wechat_mini(folder: Path) -> WeChatMiniSide:
    """Read WeChat's side of the mini-program from a provisioned folder."""
    return WeChatMiniSide(
        **json.loads((folder / "wechat_mini" / "account.json").read_text("utf-8"))
    )


def read_oidc(folder: Path) -> OidcSide:
    """Read the provider's side from a provisioned folder."""
    return OidcSide(**json.loads((folder / "oidc" / "account.json").read_text("utf-8")))


def rotate_platform(folder: Path, *, retire: bool) -> None:
    """Sign with a new platform key from now on; `retire` drops the older ones at once."""
    home = folder / "platform"
    index = json.loads((home / "index.json").read_text("utf-8"))
    serial, files = _new_platform_key()
    for name, content in files.items():
        _write(home / name, content)
    kept = [] if retire else index
    _write(home / "index.json.new", json.dumps([*kept, serial]).encode())
    (home / "index.json.new").replace(home / "index.json")


def _once(folder: Path, make: Callable[[], Mapping[str, bytes]]) -> None:
    """Fill a folder beside and rename it, so that it is there whole or not at all."""
    if folder.exists():
        return
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in make().items():
            _write(fresh / name, content)
        # Somebody else was quicker: his is as good as ours.
        with contextlib.suppress(OSError):
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    if not folder.exists():
        raise OSError(f"cannot write the keys to {folder}")


def _wechat_merchant() -> dict[str, bytes]:
    key, certificate = _pair("One Beam demo merchant")
    facts = {
        "mchid": str(1_900_000_000 + secrets.randbelow(99_999_999)),
        "appid": f"wx{secrets.token_hex(8)}",
        "serial_no": _serial(certificate),
    }
    return {
        "merchant.json": json.dumps(facts).encode(),
        "merchant_key.pem": _pem(key),
        "merchant_cert.pem": certificate.public_bytes(Encoding.PEM),
        "apiv3_key": secrets.token_hex(16).encode(),
    }


def _sf_account() -> dict[str, bytes]:
    account = SFSide(
        partner_id=f"YLSZ{secrets.token_hex(4).upper()}",
        check_word=secrets.token_urlsafe(24),
        monthly_card=f"75{secrets.randbelow(10**8):08d}",
        push_token=secrets.token_urlsafe(24),
    )
    return {"account.json": json.dumps(asdict(account)).encode()}


def _sms_account() -> dict[str, bytes]:
    account = SMSSide(
        access_key_id=f"LTAI{secrets.token_hex(10)}",
        access_key_secret=secrets.token_urlsafe(24),
        sign_name="一网通办",
        template_code=f"SMS_{secrets.randbelow(10**9):09d}",
        notice_template_code=f"SMS_{10**9 + secrets.randbelow(10**9)}",
    )
    return {"account.json": json.dumps(asdict(account)).encode()}


def _register_account() -> dict[str, bytes]:
    account = RegisterSide(app_id=f"app{secrets.token_hex(6)}", secret=secrets.token_urlsafe(32))
    return {"account.json": json.dumps(asdict(account)).encode()}


def _oidc_account() -> dict[str, bytes]:
    account = OidcSide(client_id="one-beam", client_secret=secrets.token_urlsafe(32))
    return {"account.json": json.dumps(asdict(account)).encode()}


def _wechat_mini_account() -> dict[str, bytes]:
    account = WeChatMiniSide(appid=f"wx{secrets.token_hex(8)}", secret=secrets.token_hex(16))
    return {"account.json": json.dumps(asdict(account)).encode()}


def _platform() -> dict[str, bytes]:
    serial, files = _new_platform_key()
    return {**files, "index.json": json.dumps([serial]).encode()}


def _new_platform_key() -> tuple[str, dict[str, bytes]]:
    key, certificate = _pair("Tenpay.com sandbox")
    serial = _serial(certificate)
    pem = certificate.public_bytes(Encoding.PEM)
    return serial, {f"{serial}.key.pem": _pem(key), f"{serial}.cert.pem": pem}


def _platform_key(home: Path, serial: str) -> PlatformKey:
    key = load_pem_private_key((home / f"{serial}.key.pem").read_bytes(), None)
    pem = (home / f"{serial}.cert.pem").read_bytes()
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("platform keys must be RSA keys")
    return PlatformKey(serial, key, x509.load_pem_x509_certificate(pem), pem)


def _pair(common_name: str) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=5 * 365))
        .sign(key, SHA256())
    )
    return key, certificate


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:X}"


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())

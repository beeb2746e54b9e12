"""No secret stands in the tree or came in with the last commits."""

import base64
import re
import secrets
import subprocess
import tomllib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .secret_scan import Finding, scan
from .versions import ROOT

KNOWN: dict[str, str] = tomllib.loads((ROOT / "tests/audit/secrets_known.toml").read_text("utf-8"))
NOT_OURS = ("gateway/gateway/pages/vendor/",)
HASHES_ONLY = re.compile(r"requirements[\w-]*\.lock$|package-lock\.json$")
MADE_UP = ("tests/", "bench/")
"""Passwords and vectors stand there by the dozen; only what somebody's service gave out counts."""
GIVEN_OUT = {"private key", "cloud key", "service token"}
COMMITS = 60


TO_DO = "a secret? Take it out and change it. None? Say what it is in secrets_known.toml"


def counts(finding: Finding) -> bool:
    path = finding.place.rpartition(":")[2]
    return finding.kind in GIVEN_OUT or not path.startswith(MADE_UP)


def unknown(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if counts(finding) and finding.mark not in KNOWN]


def _git(*args: str) -> str:
    told = subprocess.run(["git", *args], cwd=ROOT, check=True, capture_output=True)
    return told.stdout.decode("utf-8", "replace")


def _is_scanned(name: str) -> bool:
    return bool(name) and not name.startswith(NOT_OURS) and not HASHES_ONLY.search(name)


@pytest.fixture(scope="module")
def tree() -> list[Finding]:
    names = _git("ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    files = [ROOT / name for name in names if _is_scanned(name) and (ROOT / name).is_file()]
    assert len(files) > 400
    return [
        finding
        for file in files
        for finding in scan(str(file.relative_to(ROOT)), file.read_text("utf-8", "replace"))
    ]


def test_the_tree(tree: list[Finding]) -> None:
    assert unknown(tree) == [], TO_DO


def test_the_last_commits() -> None:
    """What was added and taken out again is as public as what stayed."""
    added: dict[str, list[str]] = {}
    name = commit = ""
    log = _git("log", "-p", f"-{COMMITS}", "--unified=0", "--no-color", "--format=@@@%h")
    for line in log.splitlines():
        if line.startswith("@@@"):
            commit = line[3:]
        elif line.startswith("+++ "):
            name = line[6:]
        elif line.startswith("+") and _is_scanned(name):
            added.setdefault(f"{commit}:{name}", []).append(line[1:])
    found = [x for place, lines in added.items() for x in scan(place, "\n".join(lines))]
    assert unknown(found) == [], TO_DO


def test_nothing_is_excused_in_vain(tree: list[Finding]) -> None:
    assert set(KNOWN) - {finding.mark for finding in tree if counts(finding)} == set()
    assert all(len(reason) > 15 for reason in KNOWN.values())


def _pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _b64(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode()


@pytest.mark.parametrize(
    "planted",
    [
        _pem(),
        _pem().replace("\n", "\\n"),
        "key = " + "AKIA" + "Z7Q4" * 4,
        "LTAI" + "5tQ9" * 5,
        "gh" + "p_" + "a1B2c3D4e5" * 3 + "a1B2c3",
        "token: eyJhbGciOiJFUzI1NiJ9" + "." + "eyJzdWIiOiJhY2NfMSJ9" + "." + "aB3-" * 12,
        "postgresql://case:" + secrets.token_hex(8) + "@db.example/case",
        f'API_SECRET = "{secrets.token_hex(16)}1"',
        f"BEAM_VAULT_KEY={_b64(32)}",
        "BEAM_VAULT_KEY=" + "TNvbZfquOROaYGxhpy" + "FFq/NVFgKypLGRkKcCqANArJc=",
        f"x = [{_b64(48)!r}]",
        f'{{"pepper": "{secrets.token_hex(32)}"}}',
    ],
    # Several processes collect the tests: what is made up here must not be part of their names.
    ids=(
        "pem",
        "pem in a line",
        "aws",
        "aliyun",
        "github",
        "jwt",
        "url",
        "code",
        "env",
        "env without a digit",
        "list",
        "json",
    ),
)
def test_a_planted_secret_is_found(planted: str) -> None:
    assert list(scan("planted", f"first line\n{planted}\n")), "not seen"


@pytest.mark.parametrize(
    "plain",
    [
        'password = settings.password_file.read_text("utf-8")',
        "BEAM_DATABASE_PASSWORD_FILE: /run/secrets/database",
        "from identity_svc.migrations.versions import something_long_and_readable_v2",
        "a sentence about tokens, secrets and passwords: none of them is one",
        "https://example.org/some/long/path/that/is/only/a/path/2026",
    ],
)
def test_plain_text_is_left_alone(plain: str) -> None:
    assert list(scan("plain", plain)) == []

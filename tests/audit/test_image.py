"""Rules for deploy/Dockerfile and what may get into the image: they hold without an engine."""

import fnmatch
import re
import subprocess

import pytest

from .versions import ROOT

TEXT = (ROOT / "deploy/Dockerfile").read_text("utf-8")
IGNORE = (ROOT / ".dockerignore").read_text("utf-8").splitlines()


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of each instruction, continued lines joined."""
    plain = re.sub(r"^#.*\n", "", TEXT, flags=re.M)
    joined = re.sub(r"\\\n\s*", " ", plain)
    found = re.findall(r"^([A-Z]+)\s+(.*)$", joined, re.M)
    assert len(found) > 20
    return found


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def last_stage() -> list[tuple[str, str]]:
    all_of = instructions()
    start = max(n for n, (word, _) in enumerate(all_of) if word == "FROM")
    return all_of[start:]


def test_the_base_is_a_setting_with_a_version() -> None:
    (image,) = [rest.partition("=")[2] for rest in of("ARG") if rest.startswith("PYTHON_IMAGE=")]
    assert re.search(r":\d+\.\d+", image)
    assert not image.endswith(":latest")
    assert {rest.split()[0] for rest in of("FROM")} == {"${PYTHON_IMAGE}"}


def test_it_runs_as_nobody_known_and_never_goes_back() -> None:
    users = [rest for word, rest in last_stage() if word == "USER"]
    assert users == ["10001:10001"]
    position = [word for word, _ in last_stage()].index("USER")
    assert "RUN" not in [word for word, _ in last_stage()[position:]]


def test_the_last_stage_installs_nothing() -> None:
    """pip, compilers and package lists stay in the stage that is thrown away."""
    assert "RUN" not in [word for word, _ in last_stage()]


def test_packages_come_by_hash_and_nothing_from_an_address() -> None:
    (install,) = [rest for rest in of("RUN") if "install" in rest]
    assert "--require-hashes" in install
    assert "--only-binary=:all:" in install
    assert not of("ADD"), "ADD unpacks and downloads; COPY does what it says"
    assert not re.search(r"\b(curl|wget|apt-get|git clone)\b|https?://", TEXT)


def test_no_secret_is_given_at_build_time() -> None:
    """ARG and ENV stay readable in the image's history."""
    for rest in [*of("ARG"), *of("ENV"), *of("LABEL")]:
        for name in re.findall(r"(\w+)=", rest):
            assert not re.search(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|_KEY$|VAULT", name), name
    assert "--mount=type=secret" not in TEXT


def test_a_health_check_and_an_end_that_is_heard() -> None:
    assert of("HEALTHCHECK")
    assert of("STOPSIGNAL") == ["SIGTERM"]
    assert of("ENTRYPOINT")[0].startswith("["), "a shell in between would swallow the signal"
    assert of("CMD")[0].startswith("[")


def _goes_in(name: str) -> bool:
    """Whether the build sees the file: the last line of .dockerignore that fits decides."""
    seen = True
    for line in IGNORE:
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        keep, pattern = rule.startswith("!"), rule.lstrip("!").removeprefix("**/")
        parts = name.split("/")
        heads = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        names = parts if "**/" in rule else heads
        if any(fnmatch.fnmatch(one, pattern) for one in names):
            seen = keep
    return seen


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        "deploy/.env",
        "deploy/secrets/vault.json",
        ".git/config",
        ".data/run.json",
        "backups/all.tar",
        "tests/conftest.py",
        "kit/kit/__pycache__/x.pyc",
    ],
)
def test_the_build_never_sees(name: str) -> None:
    assert not _goes_in(name)


def test_the_build_sees_the_programs_and_only_what_is_copied() -> None:
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    seen = [name for name in told.stdout.splitlines() if _goes_in(name)]
    assert "kit/kit/app.py" in seen
    copied = [source for rest in of("COPY") if "--from" not in rest for source in rest.split()[:-1]]
    left_over = [name for name in seen if not name.startswith(tuple(copied))]
    assert left_over == []


def test_secrets_are_kept_out_of_git() -> None:
    for name in ("deploy/.env", ".env", "deploy/secrets/vault.json", ".data/x", "backups/x"):
        done = subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False)
        assert done.returncode == 0, f"git would take {name}"


def test_settings_say_where_a_secret_lies_not_what_it_is() -> None:
    """No line of env.example gives a secret a value; the programs read /run/secrets."""
    for line in (ROOT / "deploy/env.example").read_text("utf-8").splitlines():
        name, _, value = line.lstrip("# ").partition("=")
        if re.fullmatch(r"[A-Z_]+", name) and re.search(r"PASSWORD|SECRET|TOKEN|_KEY$", name):
            assert not value or name.endswith(("_FILE", "_URL")), line

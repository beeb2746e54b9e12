"""What is made once and kept: deploy/.env, secrets, our image, the accounts of brokers elsewhere;
called by host.py."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from engine import DEPLOY, ENV, SECRETS, docker, fail, settings


def secrets() -> int:
    """deploy/.env and deploy/secrets/, once; what is there is never changed."""
    os.umask(0o077)
    if not ENV.exists():
        ENV.write_text((DEPLOY / "env.example").read_text("utf-8"), "utf-8")
        ENV.chmod(0o600)
        print("✓ deploy/.env(试用设置;正式使用前请逐项检查) / settings for a trial: read them")
    SECRETS.mkdir(mode=0o700, exist_ok=True)
    now, image = settings(), _image()
    trial = "sandbox" in now.get("COMPOSE_PROFILES", "").split(",")
    written = _as_ourselves(
        ("-v", f"{SECRETS}:/made"), image, "secrets", "/made", *(["--outside"] if trial else [])
    )
    if written == 0:
        print("  请把 deploy/secrets/ 另存一份:丢失后,加密的资料无法恢复。")
        print("  Keep a copy of deploy/secrets/: without it sealed data cannot be opened again.")
    return written


def accounts(folder: Path) -> int:
    """`accounts.conf` for brokers elsewhere, from the code and the secrets: it holds passwords."""
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    whole = SECRETS / "secrets.json"
    if not whole.is_file():
        fail("没有密钥,请先执行 make secrets。", "There are no secrets: run make secrets first.")
    mounts = ("-v", f"{whole}:/run/secrets/secrets.json:ro", "-v", f"{folder}:/made")
    written = _as_ourselves(mounts, _image(), "broker-accounts", "/made/accounts.conf")
    if written == 0:
        print(f"✓ {folder / 'accounts.conf'}(含口令,仅运行 NATS 的用户可读 / holds passwords)")
    return written


def _as_ourselves(mounts: tuple[str, ...], image: str, *words: str) -> int:
    """Run our image as who runs this, without any right; its exit code."""
    # A folder of the container.
    inside = "/tmp"  # nosec B108
    systems = settings().get("BEAM_PARTNER_DEPTS", "")
    return subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", inside,
         "--cap-drop", "ALL",
         "--security-opt", "no-new-privileges", "--user", f"{os.getuid()}:{os.getgid()}",
         "-e", f"BEAM_PARTNER_DEPTS={systems}", *mounts, image, *words],
        check=False,
    ).returncode  # fmt: skip


def _image() -> str:
    """Our image, built when it is not there. (Compose cannot: it wants the settings first.)"""
    now = settings()
    version = now.get("BEAM_VERSION", "0.1.0")
    image = f"{now.get('BEAM_IMAGE', 'one-beam')}:{version}"
    if docker("image", "inspect", image) is not None:
        return image
    if docker("version") is None:
        fail(
            "Docker 没有应答。请安装并启动 Docker。",
            "Docker does not answer: install and start it.",
        )
    print(f"正在构建镜像 {image}(首次几分钟) / building the image, minutes the first time …")
    given = [f"{k}={now[k]}" for k in ("PYTHON_IMAGE", "PIP_INDEX_URL") if now.get(k)]
    arguments = [a for pair in (*given, f"BEAM_VERSION={version}") for a in ("--build-arg", pair)]
    done = subprocess.run(
        ["docker", "build", "-q", "-f", str(DEPLOY / "Dockerfile"), "-t", image, *arguments,
         str(DEPLOY.parent)],
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        fail("镜像没有构建成功,原因见上。", "The image could not be built, see above.")
    return image

"""@fastify/http-proxy, the gateway of many Node.js houses. Installed once into a cache folder of
the user, pinned by the lock file beside this one."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def why_not() -> str | None:
    """Why it cannot run on this machine, or None."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"no {program} on this machine"
    if not (_folder() / "node_modules").is_dir():
        return _install()
    return None


def proxy(port: int, upstream: int) -> list[str]:
    """The command of a gateway that does nothing but pass on."""
    node = shutil.which("node")
    assert node is not None
    return [node, str(_folder() / "proxy.mjs"), str(port), f"http://127.0.0.1:{upstream}"]


def _folder() -> Path:
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "beam-bench" / f"fastify-{lock}"


def _install() -> str | None:
    """Put the pinned packages there; nothing of theirs is run for it. Why not, or None."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "proxy.mjs"):
        shutil.copy(HERE / name, folder / name)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(folder / "node_modules", ignore_errors=True)
        return "npm could not install @fastify/http-proxy (no registry within reach?)"
    return None

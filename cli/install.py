"""`make install`: a venv in .venv with exactly what requirements.lock names. Standard library only.

Runs with the system's Python, before anything is installed. A second call finds its stamp and does
nothing, also without a network. `install.py audit` does the same for the tools of `make audit`:
.audit, from requirements-audit.lock, without our own programs.
"""

import compileall
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = {"all": (".venv", "requirements.lock"), "audit": (".audit", "requirements-audit.lock")}
SERVICES = (
    "identity",
    "catalog",
    "case",
    "licence",
    "payment",
    "logistics",
    "helpdesk",
    "exchange",
)
FLOORS = ("contracts", "kit", "gateway", "sandbox", "cli", *(f"{name}-svc" for name in SERVICES))


def main(what: str = "all") -> int:
    venv, lock = (ROOT / name for name in PLACES[what])
    stamp = venv / "installed"
    if sys.version_info < (3, 11):  # noqa: UP036  whoever starts us may be older
        return _fail(
            f"需要 Python 3.11 或更新,当前是 {sys.version.split()[0]}。请安装后执行 "
            "PYTHON=/路径/python3.11 make install。",
            f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}. Install one and "
            "run PYTHON=/path/to/python3.11 make install.",
        )
    wanted = hashlib.sha256(
        lock.read_bytes() + f"{sys.version_info[:2]} {ROOT}".encode()
    ).hexdigest()
    python = venv / "bin" / "python"
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return 0
    print(
        f"正在安装到 {venv.name}(首次需要网络,约一分钟) / installing into {venv.name} …", flush=True
    )
    stamp.unlink(missing_ok=True)
    uv = shutil.which("uv")
    if not python.exists() or _version_of(python) != sys.version_info[:2]:
        shutil.rmtree(venv, ignore_errors=True)
        make = (
            [uv, "venv", "-q", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        )
        if subprocess.run([*make, str(venv)], check=False).returncode != 0:
            shutil.rmtree(venv, ignore_errors=True)
            return _fail(
                "无法创建虚拟环境。Debian/Ubuntu 请先执行:sudo apt-get install python3-venv",
                "Cannot create a venv. On Debian/Ubuntu first: sudo apt-get install python3-venv",
            )
    if uv:
        install = [uv, "pip", "install", "-q", "--python", str(python), "--compile-bytecode"]
    else:
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*install, "--require-hashes", "-r", str(lock)], check=False)
    if done.returncode != 0:
        return _fail(
            "安装未完成,原因见上。请检查网络后再次执行 make install;Alpine/musl 没有内置的 "
            "PostgreSQL,请用 docker compose。",
            "The installation did not finish, see above. Check the network and run make install "
            "again; there is no embedded PostgreSQL for Alpine/musl: use docker compose there.",
        )
    if what == "all":
        _link(python)
        for floor in FLOORS:
            compileall.compile_dir(ROOT / floor, quiet=2)
    stamp.write_text(wanted)
    print("安装完成 / installed")
    return 0


def _link(python: Path) -> None:
    """Put our folders on the venv's path, and the command `beam` beside its python."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    pth = Path(packages.stdout.strip()) / "one-beam.pth"
    pth.write_text("".join(f"{ROOT / floor}\n" for floor in FLOORS))
    beam = python.parent / "beam"
    beam.write_text(f'#!/bin/sh\nexec "{python}" -m beam "$@"\n')
    beam.chmod(0o755)


def _version_of(python: Path) -> tuple[int, int] | None:
    ask = "import sys; print(*sys.version_info[:2])"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    numbers = done.stdout.split()
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None


def _fail(zh: str, en: str) -> int:
    print(f"✗ {zh}\n  {en}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(*sys.argv[1:]))

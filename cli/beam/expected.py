"""What may go wrong outside of the programs — a full disk, a file that may not be read, a database
that is away — as a sentence. A stack of ours would hide it; `BEAM_TRACEBACK=1` shows it."""

import errno
import os
import subprocess
from collections.abc import Iterator

from kit.embedded import EmbeddedError

from .trouble import Trouble

_FULL = (errno.ENOSPC, errno.EDQUOT)
_AWAY = (ConnectionError, TimeoutError)
_DATABASE = ("asyncpg", "sqlalchemy")


def trouble(problem: BaseException | None) -> Trouble | None:
    """The Trouble that this is; None when it is nothing of the kind, so a fault of ours."""
    if isinstance(problem, Trouble):
        return problem
    if problem is None or os.environ.get("BEAM_TRACEBACK"):
        return None
    # What went wrong together stands in a group: all of it has to be expected.
    told = [_alone(one) for one in _leaves(problem)]
    return told[0] if told and all(told) else None


def _leaves(problem: BaseException) -> Iterator[BaseException]:
    if isinstance(problem, BaseExceptionGroup):
        for one in problem.exceptions:
            yield from _leaves(one)
    else:
        yield problem


def _alone(problem: BaseException) -> Trouble | None:
    name = type(problem).__name__
    if isinstance(problem, Trouble):
        return problem
    if isinstance(problem, EmbeddedError):
        return Trouble(problem.zh, problem.en)
    if isinstance(problem, subprocess.CalledProcessError):
        command = problem.cmd[0] if isinstance(problem.cmd, list) else problem.cmd
        return Trouble(
            f"{command} 没有完成(退出码 {problem.returncode}),原因见它在上面的话。",
            f"{command} failed (exit code {problem.returncode}); it said why above.",
        )
    if type(problem).__module__.partition(".")[0] in _DATABASE:
        return Trouble(
            f"数据库拒绝或中断了操作({name})。请看数据库的日志与磁盘,然后再执行一次。",
            f"The database refused or broke off ({name}). See its log and its disk, then try "
            "again.",
        )
    return _of_system(problem, name) if isinstance(problem, OSError) else None


def _of_system(problem: OSError, name: str) -> Trouble:
    file = str(problem.filename) if problem.filename else ""
    zh_file, en_file = (f" {file} ", f" {file}") if file else ("", "")
    why = problem.strerror or name
    if problem.errno in _FULL:
        return Trouble(
            f"磁盘已满,无法写入{zh_file}。请腾出空间后再执行一次;已保存的数据不受影响。",
            f"The disk is full: cannot write{en_file}. Make room and try again; what was stored "
            "is safe.",
        )
    if isinstance(problem, _AWAY) or not file:
        return Trouble(
            f"连接不上,或系统中断了操作({why})。平台、数据库和消息服务是否在运行?"
            "请执行 make doctor。",
            f"Cannot connect, or the system broke off ({why}). Do the platform, its database and "
            "its broker run? See make doctor.",
        )
    return Trouble(
        f"无法使用{zh_file}({why})。请检查路径与权限,然后再执行一次。",
        f"Cannot use{en_file} ({why}). Check path and rights, then try again.",
    )

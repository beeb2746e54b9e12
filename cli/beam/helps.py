"""What every `--help` ends with: an example to copy, and what the exit code says."""

CODES = (
    "退出码 / exit codes: 0 成功 / done; 1 查出问题 / it found something wrong; "
    "2 做不了,已说明原因 / could not do it, and says why"
)


def example(*lines: str) -> str:
    """The end of a command's help: its examples, one a line."""
    return "\n\n".join(f"例 / example:  beam {line}" for line in lines)

"""`python -m beam`, and the command `beam`."""

from .commands import app


def main() -> None:
    app(prog_name="beam")


if __name__ == "__main__":
    main()

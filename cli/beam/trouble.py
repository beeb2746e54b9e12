"""What stops `beam` with exit code 2: a sentence that says what happened and what to do."""


class Trouble(Exception):
    """Nothing is left running when this is shown; `zh` and `en` are whole sentences."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(f"{zh} / {en}")
        self.zh = zh
        self.en = en

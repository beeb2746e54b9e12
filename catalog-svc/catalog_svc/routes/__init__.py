from . import public, staff, wording

__all__ = ["public", "staff", "wording"]

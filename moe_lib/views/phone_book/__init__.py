"""Facts that light up while two models learn them by heart: a dense one, and one with experts."""

from moe_lib.views.phone_book.widget import PhoneBookRace

__all__ = ["PhoneBookRace"]

"""The one exception that bad input raises, and how names are shown in its message."""

from collections.abc import Iterable

MOST_SHOWN = 200  # characters of a name or value


class InputError(ValueError):
    """Input that ecjax cannot use; the message says what, where, how many, and the way out.

    Paths, names and values in the message are input too: whatever is unprintable is escaped.

    Args:
        message: One line.
        lines: Shown below it, for the way out.
    """

    def __init__(self, message: str, *lines: str):
        super().__init__("\n    ".join(neutral(line) for line in (message, *lines)))


def quote(text: object) -> str:
    """Returns `text` in double quotes with everything unprintable escaped; the middle of a long one
    is left out.

    Names come from files of unknown origin; a control or bidirectional character in one must not
    reach a terminal.
    """
    return '"' + neutral(_shortened(str(text))) + '"'


def shown(value: object) -> str:
    """Returns a value as code would write it; the middle of a long one is left out."""
    return neutral(_shortened(repr(value)))


def _shortened(text: str) -> str:
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[: MOST_SHOWN // 2]}… ({len(text):,} characters) …{text[-MOST_SHOWN // 4 :]}"


def neutral(text: object) -> str:
    """Returns `text` with every unprintable character written as its Python escape."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii")
        for c in str(text)
    )


def listing(items: Iterable[object], limit: int = 3) -> str:
    """Returns the first `limit` items quoted and joined by commas, and how many more there are."""
    items = list(items)
    text = ", ".join(quote(item) for item in items[:limit])
    return text if len(items) <= limit else f"{text} and {len(items) - limit:,} more"


def counted(count: int, noun: str) -> str:
    """Returns "1 row", "1,234 rows" or "2 classes"."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


class UsageError(ValueError):
    """A flag or argument that cannot be used; the message says which and what is accepted."""

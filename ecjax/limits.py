"""How much a table may be: bytes when read, columns, files, and what small files may expand to.

What a table takes is counted from what its files say of themselves, before it is read, or byte by
byte while it is unpacked.
"""

from __future__ import annotations

import os

from ecjax.errors import InputError, counted

MOST_FILES = 10_000
MOST_COLUMNS = 50_000  # of a file
MOST_METADATA = 1 << 26  # bytes of a footer, header or message, that describe a file's columns
MEMORY_SHARE = 0.7
# Embeddings hardly shrink, labels at times by a few dozen; up to so many bytes nobody minds.
MOST_EXPANSION, FREE_BYTES = 100, 1 << 27


class Budget:
    """Bytes that one table may take, all of its files together.

    Args:
        most: `--max_input_bytes`; 0: a share of the machine's memory, and no file may expand to
            more than MOST_EXPANSION times its size and FREE_BYTES.
    """

    def __init__(self, most: int = 0):
        self.given = bool(most)
        self.most = most or default_bytes()
        self.spent = 0

    def of(self, size: int, here: str) -> FileBudget:
        """For one file of so many bytes; `here` begins its messages."""
        return FileBudget(self, size, here)


class FileBudget:
    """What one of a table's files may still take."""

    def __init__(self, whole: Budget, size: int, here: str):
        self.whole, self.size, self.here = whole, size, here
        self.spent = 0

    @property
    def left(self) -> int:
        """Bytes that may still be taken."""
        left = self.whole.most - self.whole.spent
        if self.whole.given:
            return left
        return min(left, max(FREE_BYTES, MOST_EXPANSION * self.size) - self.spent)

    def take(self, nbytes: int) -> None:
        """Raises an InputError if so many more bytes are too many."""
        self.check(nbytes)
        self.spent += nbytes
        self.whole.spent += nbytes

    def check(self, nbytes: int) -> None:
        """As `take`, but takes nothing."""
        if self.whole.spent + nbytes > self.whole.most:
            which = "--max_input_bytes" if self.whole.given else f"{MEMORY_SHARE:.0%} of the memory"
            raise InputError(
                f"{self.here}: the table takes {self.whole.spent + nbytes:,} bytes or more when "
                f"read, and {which} is {self.whole.most:,}; give fewer rows, or say with "
                "--max_input_bytes how much it may take"
            )
        self.check_expansion(nbytes)

    def check_expansion(self, nbytes: int) -> None:
        """Raises an InputError if a small file would become so large."""
        nbytes += self.spent
        if not self.whole.given and nbytes > max(FREE_BYTES, MOST_EXPANSION * self.size):
            raise InputError(
                f"{self.here}: {counted(self.size, 'byte')} would expand to {nbytes:,} or more, "
                f"and files of tables do not shrink to 1/{MOST_EXPANSION}; if it is meant, say "
                f"--max_input_bytes={nbytes} or more"
            )


def default_bytes() -> int:
    """A share of this machine's memory."""
    return int(MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def check_columns(count: int, here: str) -> None:
    """Raises an InputError if a file has too many columns."""
    if count > MOST_COLUMNS:
        raise InputError(
            f"{here}: {count:,} columns, and at most {MOST_COLUMNS:,} are read; leave out those "
            "that are no features, or store each vector as a list in one column"
        )

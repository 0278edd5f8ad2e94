"""
The words of an account's files, in an index of SQLite's (FTS5) beside the database.

It holds nothing that is not in the files: those that it does not know are read again (see
`Scopix.sweep`). So it is written first and the row that says so last, as with files; and what it finds
counts only for files that have a row.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

SCHEMA = """
CREATE TABLE IF NOT EXISTS passages (
    seq INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    file_id TEXT NOT NULL,
    page INTEGER,
    start INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS passages_by_file ON passages (file_id);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    text, content = 'passages', content_rowid = 'seq', tokenize = "porter unicode61 remove_diacritics 2"
);
CREATE TRIGGER IF NOT EXISTS passage_added AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, text) VALUES (new.seq, new.text);
END;
CREATE TRIGGER IF NOT EXISTS passage_gone AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.seq, old.text);
END;
"""

# Words that stand in every text, and say nothing about any.
_COMMON_WORDS = (
    "a about an and any are as at be been but by can could did do does for from had has have how i if in "
    "into is it its me my no not of on or our she so that the their them then there they this to us was "
    "we were what when where which who whom why will with would you your"
)
COMMON = frozenset(_COMMON_WORDS.split())

# Of a question.
MOST_WORDS = 32

# Seconds that another process of the service may be at a write.
PATIENCE = 10.0

_WORD = re.compile(r"\w+")


class Passage(NamedTuple):
    """
    A piece of a file's text.

    Attributes:
        page: Where the file has pages, from 1 on.
        start: Where it begins in the text of the file, or of the page, in characters.
        text: What stands there.
    """

    page: int | None
    start: int
    text: str


class Hit(NamedTuple):
    """
    A passage that was found.

    Attributes:
        file_id: Whose.
        passage: Which.
    """

    file_id: str
    passage: Passage


class Search:
    """
    The index. Its methods block; several threads, and processes, may share it.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with closing(self._connected()) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(SCHEMA)

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, timeout=PATIENCE)
        # What a power cut takes from it is read again.
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    def replace(self, tenant: str, file_id: str, passages: Sequence[Passage]) -> None:
        """Let `passages` be what is known of a file."""
        with self._lock, closing(self._connected()) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM passages WHERE file_id = ?", (file_id,))
            db.executemany(
                "INSERT INTO passages (tenant, file_id, page, start, text) VALUES (?, ?, ?, ?, ?)",
                [(tenant, file_id, *passage) for passage in passages],
            )
            db.execute("COMMIT")

    def forget(self, file_ids: Collection[str]) -> None:
        """Take away what is known of files that are no more."""
        with self._lock, closing(self._connected()) as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("DELETE FROM passages WHERE file_id = ?", [(file_id,) for file_id in file_ids])
            db.execute("COMMIT")

    def files(self) -> set[str]:
        """All files that something is known of."""
        with closing(self._connected()) as db:
            return {file_id for (file_id,) in db.execute("SELECT DISTINCT file_id FROM passages")}

    def find(self, tenant: str, question: str, file_ids: Collection[str] | None, most: int) -> list[Hit]:
        """
        The passages that have most to do with a question, the best first.

        Args:
            tenant: Whose files.
            question: Any text; only its words count.
            file_ids: Of these files only; None for all of them.
            most: How many passages.
        """
        wanted = asked_for(question)
        if not wanted:
            return []
        # In quotes nothing is an operator of FTS5's.
        sought = " OR ".join(f'"{word}"' for word in wanted)
        with closing(self._connected()) as db:
            db.execute("CREATE TEMP TABLE among (file_id TEXT PRIMARY KEY)")
            db.executemany("INSERT INTO among VALUES (?)", [(each,) for each in set(file_ids or ())])
            rows = db.execute(
                "SELECT file_id, page, start, passages.text FROM words "
                "JOIN passages ON passages.seq = words.rowid "
                "WHERE words MATCH ? AND tenant = ? AND (? OR file_id IN (SELECT file_id FROM among)) "
                "ORDER BY rank, passages.seq LIMIT ?",
                (sought, tenant, file_ids is None, most),
            )
            return [Hit(file_id, Passage(*passage)) for file_id, *passage in rows]


def asked_for(question: str) -> list[str]:
    """The words of a question that say what it is about; all of them if none does."""
    words = list(dict.fromkeys(_WORD.findall(question.lower())))
    telling = [word for word in words if word not in COMMON]
    return (telling or words)[:MOST_WORDS]

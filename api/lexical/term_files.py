"""The files of the lexical index in a snapshot, and the constants that decide what is in them."""

from api.name_table import TABLE_FILES

TABLE = "term"
POSTING_STARTS_FILE = "term-posting-starts.npy"
POSTING_ROWS_FILE = "term-posting-rows.npy"
ADDENDS_FILE = "term-posting-addends.npy"
ROWS_WITH_TERM_FILE = "term-row-counts.npy"
LENGTHS_FILE = "term-row-lengths.npy"
FIELD_STARTS_FILE = "term-field-starts.npy"
FIELD_TERMS_FILE = "term-field-terms.npy"
HEADS_FILE = "term-heads.npy"
SECONDS_FILE = "term-seconds.npy"
NAMESPACES_FILE = "term-namespaces.npy"
MENTIONS_FILE = "term-mentions.npy"

LEXICAL_FILES = frozenset({
    *(name.format(TABLE) for name in TABLE_FILES), POSTING_STARTS_FILE, POSTING_ROWS_FILE, ADDENDS_FILE,
    ROWS_WITH_TERM_FILE, LENGTHS_FILE, FIELD_STARTS_FILE, FIELD_TERMS_FILE, HEADS_FILE, SECONDS_FILE,
    NAMESPACES_FILE, MENTIONS_FILE,
})  # fmt: skip
"""All of them; a server that ranks by vectors alone reads none."""

WORD_MARK = "."
"""Stands before a word in the vocabulary, where no identifier has a dot."""

FIELDS = 3
"""What the forward lists keep apart of a row, each term once: conclusion, context (less the conclusion), words of the
name."""
CONCLUSION, CONTEXT, NAME_WORDS = range(FIELDS)

COMMON_SHARE = 0.05
"""A term that more than this share of the rows has finds no candidates: it would cost the most and tell the least."""

NO_TERM = -1

"""Let stdout and stderr take every character: where they know only ASCII, λ is `lambda`.

A name that somebody has chosen is not changed, so that it is still a name: it is escaped as Python
does or, where the locale alone asks for ASCII, printed as it is.
"""

import codecs
import io
import os
import re
import sys
from collections.abc import Mapping
from typing import TextIO

# What our own words are made of, and what rich puts where it cuts.
_WORDS = {"λ": "lambda", "±": "+/-", "²": "^2", "·": "-", "→": "->", "≤": "<=", "≥": ">="}
_WORDS |= {"…": "~", "√": "sqrt", "Σ": "sum", "‖": "||", "ᵀ": "^T"}
_ESCAPING, _KEEPING = "tuner.escaping", "tuner.keeping"

# What a terminal obeys in place of showing it, or what turns a line's order round.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return text as it may be shown: names and notes of others tell the terminal nothing."""
    return _OBEYED.sub("?", text)


def show(text: str, *, file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Print text, as it may be shown."""
    print(visible(text), file=file, end=end, flush=flush)


def make_output_plain(environment: Mapping[str, str] = os.environ) -> None:
    """Set this process's stdout and stderr up; safe to repeat.

    Python takes the locales C and POSIX for UTF-8. Who has set one has a terminal without, or a
    program that reads ASCII.
    """
    codecs.register_error(_ESCAPING, _escape)
    codecs.register_error(_KEEPING, _keep)
    locale = environment.get("LC_ALL") or environment.get("LANG")
    is_ascii = bool(sys.flags.utf8_mode) and locale in ("C", "POSIX")
    is_ascii = is_ascii and not {"PYTHONUTF8", "PYTHONIOENCODING"} & set(environment)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding, errors = ("ascii", _KEEPING) if is_ascii else (None, _ESCAPING)
            stream.reconfigure(encoding=encoding, errors=errors)


def _escape(error: UnicodeError) -> tuple[str, int]:
    text, end = _rest_of_line(error)
    encoding = getattr(error, "encoding", "ascii")
    return text.encode(encoding, "backslashreplace").decode(encoding), end


def _keep(error: UnicodeError) -> tuple[bytes, int]:
    text, end = _rest_of_line(error)
    # What were bytes of the command line that are no UTF-8 are those bytes again.
    return text.encode("utf-8", "surrogateescape"), end


def _rest_of_line(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for the rest of a line, and its end; padding makes room for it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    end = error.object.find("\n", error.end)
    end = len(error.object) if end < 0 else end
    rest = error.object[error.start : end]
    text = "".join(_WORDS.get(character, character) for character in rest)
    if padding := re.search(r"  +(?=\|?$)", text):
        spare = min(len(text) - len(rest), len(padding[0]) - 1)
        text = text[: padding.start()] + text[padding.start() + spare :]
    return text, end

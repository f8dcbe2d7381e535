"""Every error this package raises on purpose.

HemixError
|-- ConfigError      a configuration value is impossible on its own or with another
|-- InputError       a raw table, row or request breaks a rule; says file, column and row where known
|-- StoreError       a prepared store is missing, incomplete, altered or from another version
|-- RunError         a run folder or checkpoint is missing, incomplete or from another schema
`-- TrainingError    training cannot go on (NaN or Inf, nothing to learn from)

A message states the rule, then the value that broke it, then what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class HemixError(Exception):
    """Root of all deliberate errors; the command line prints it without a traceback."""

    exit_code = 1


class ConfigError(HemixError):
    """A configuration value is impossible on its own or together with another."""

    exit_code = 2


class InputError(HemixError):
    """A raw table, row or request breaks a rule of the schema."""

    exit_code = 2


class StoreError(HemixError):
    """A prepared store cannot be used: missing, incomplete, altered or of another version."""

    exit_code = 2


class RunError(HemixError):
    """A run folder or checkpoint cannot be used: missing, incomplete or of another schema."""

    exit_code = 2


class TrainingError(HemixError):
    """Training cannot go on."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` if some known name is close, else an empty string.

    >>> suggestion("gcdn", ["gdcn", "hemix"])
    " Did you mean 'gdcn'?"
    """
    close = get_close_matches(name, sorted(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not in a fixed set.

    >>> print(unknown_name("model", "hemx", ["din", "hemix"]))
    Unknown model 'hemx'; available: din, hemix. Did you mean 'hemix'?
    """
    options = sorted(known)
    return ConfigError(f"Unknown {kind} {name!r}; available: {', '.join(options)}.{suggestion(name, options)}")

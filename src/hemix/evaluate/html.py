"""The parts of pages: one file each, nothing is fetched, no scripts. Text from data must be escaped before."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from hemix.evaluate.style import CSS


def html_page(title: str, body: Sequence[str]) -> str:
    """A whole page with the style sheet of all pages; `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
        f"<style>{CSS}</style></head>\n<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"
    )


def html_pairs(values: Mapping[str, Any]) -> str:
    """A table of names and values, nested ones with dotted names; escapes both."""
    rows = [[escape(name), escape(str(value))] for name, value in _flat(values)]
    return html_table(["", ""], rows, last_is_text=True)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of nested values."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, last_is_text: bool = False) -> str:
    """A table of cells that are HTML already."""
    kind = ' class="text"' if last_is_text else ""
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    head = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    return f'<div class="wide"><table{kind}>{head}<tbody>{body}</tbody></table></div>'

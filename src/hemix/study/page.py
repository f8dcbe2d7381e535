"""`report.html` of a study: its tables and pictures in one file. Nothing is fetched, there are no scripts."""

import base64
import re
from collections.abc import Mapping
from html import escape, unescape

from hemix.evaluate.style import CSS


def study_html(title: str, tables: Mapping[str, str], pictures: Mapping[str, bytes], notes: tuple[str, ...]) -> str:
    """The page. `tables` are Markdown by heading, `pictures` PNG by heading."""
    body = [f"<header><h1>{escape(title)}</h1></header>"]
    for name, data in pictures.items():
        source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        body.append(
            f'<section><h2>{escape(name)}</h2><figure><img alt="{escape(name)}" src="{source}"></figure></section>'
        )
    body += [f"<section><h2>{escape(name)}</h2>{table_html(text)}</section>" for name, text in tables.items()]
    if notes:
        body.append("<footer>" + "".join(f"<p>{escape(note)}</p>" for note in notes) + "</footer>")
    style = CSS + "figure img{width:100%;height:auto;display:block;background:#fff;border-radius:8px}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def table_html(markdown: str) -> str:
    """The tables of a Markdown text as HTML, other lines as paragraphs; all text is escaped."""
    blocks = []
    for block in re.split(r"\n\s*\n", markdown.strip()):
        lines = block.splitlines()
        if not lines[0].startswith("|"):
            blocks.append(f"<p>{escape(_plain(' '.join(lines)))}</p>")
            continue
        head, _, *rows = [_cells(line) for line in lines]
        top = "".join(f"<th>{cell}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
        blocks.append(f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>')
    return "".join(blocks)


def _cells(line: str) -> list[str]:
    return [escape(_plain(cell.strip())) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _plain(text: str) -> str:
    """Markdown text without its escapes and code marks."""
    return unescape(re.sub(r"\\([\\|`*_<>\[\]])|`", lambda match: match[1] or "", text))

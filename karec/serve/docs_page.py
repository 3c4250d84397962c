"""/docs: the endpoints and types of /openapi.json as one page of HTML, which loads nothing."""

from __future__ import annotations

from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2.5rem; } h3 { margin: 2rem 0 .3rem; }
code { font: .9em ui-monospace, monospace; background: var(--soft); padding: .1em .3em; border-radius: .2em; }
table { border-collapse: collapse; width: 100%; } .wide { overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); }
"""


def docs_page(openapi: dict[str, Any]) -> str:
    parts = [f"<h1>karec {escape(openapi['info']['version'])}</h1>"]
    parts.append("<p>JSON in and out. Ids are integers or texts, as the platform has them. ")
    parts.append("Errors are problem details (RFC 9457) whose <code>field</code> names what is wrong. ")
    parts.append('The same for machines: <a href="/openapi.json">/openapi.json</a>.</p><h2>Endpoints</h2>')
    for path, methods in openapi["paths"].items():
        for method, told in methods.items():
            parts.append(
                f"<h3><code>{method.upper()} {escape(path)}</code></h3><p>{escape(told['summary'])}</p>"
            )
            if "requestBody" in told:
                parts.append(f"<p>Body: {_kind(_schema(told['requestBody']))}</p>")
            rows = [
                (code, f"{escape(each['description'])} {_kind(_schema(each))}")
                for code, each in told["responses"].items()
            ]
            parts.append(_table(("status", "answer"), rows))
    parts.append("<h2>Types</h2>")
    for name, schema in openapi["components"]["schemas"].items():
        parts.append(f'<h3 id="{name}">{name}</h3><p>{escape(schema.get("description", ""))}</p>')
        needed = schema.get("required", ())
        rows = [
            (f"<code>{escape(field)}</code>{' (needed)' if field in needed else ''}", _kind(each))
            for field, each in schema.get("properties", {}).items()
        ]
        parts.append(_table(("field", "what"), rows))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>karec</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


def _schema(told: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = next(iter(told["content"].values()))["schema"]
    return schema


def _kind(schema: dict[str, Any]) -> str:
    """A type in a few words, with a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_kind(each) for each in schema[key])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    kind = escape(str(schema.get("type", "anything")))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    told = [
        f"{key} {schema[key]}"
        for key in ("minimum", "maximum", "exclusiveMinimum", "maxLength")
        if key in schema
    ]
    if schema.get("default") not in (None, "", [], {}):
        told.append(f"unless told {schema['default']}")
    return f"{kind} ({escape(', '.join(told))})" if told else kind


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{each}</th>" for each in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'

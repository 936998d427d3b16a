"""A comparison as one HTML page that needs nothing else: tables, and pictures inside the file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from jinja2 import Environment
from matplotlib import rc_context

from fewshot_cli.compare.plots import Picture
from fewshot_cli.compare.tables import Words

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>fewshot compare</title>
<style>
:root { color-scheme: light dark; --line: #d0d7de; --soft: #57606a; --head: #f2f4f6; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --soft: #9da7b1; --head: #21262d; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.35rem 0.7rem; white-space: nowrap; }
th { background: var(--head); }
.number { text-align: right; }
.word { text-align: left; }
.caption, figcaption { color: var(--soft); font-size: 0.9rem; max-width: 60rem; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; padding: 0.4rem;
      box-sizing: border-box; }
</style>
</head>
<body>
<h1>fewshot compare</h1>
{% for table in tables %}
{% if table.title %}<h2>{{ table.title }}</h2>{% endif %}
<div class="wide"><table>
<thead><tr>{% for name in table.header %}
<th class="{{ 'word' if table.texts[loop.index0] else 'number' }}">{{ name }}</th>
{%- endfor %}</tr></thead>
<tbody>{% for row in table.rows %}
<tr>{% for cell in row -%}
<td class="{{ 'word' if table.texts[loop.index0] else 'number' }}">{{ cell }}</td>
{%- endfor %}</tr>{% endfor %}
</tbody></table></div>
{% if table.caption %}<p class="caption">{{ table.caption }}</p>{% endif %}
{% endfor %}
{% for picture in pictures %}
<figure><img alt="{{ picture.caption }}" src="data:image/svg+xml;base64,{{ picture.svg }}">
<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}
</body>
</html>
"""


def page(tables: Sequence[Words], pictures: Sequence[Picture]) -> str:
    """The page; everything that comes from files is text in it, never markup."""
    shown = [{"caption": each.caption, "svg": _svg(each)} for each in pictures]
    template = Environment(autoescape=True).from_string(TEMPLATE)
    return template.render(tables=tables, pictures=shown)


def _svg(picture: Picture) -> str:
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": picture.name}):
        picture.figure.savefig(file, format="svg", metadata={"Date": None})
    return base64.b64encode(file.getvalue()).decode()

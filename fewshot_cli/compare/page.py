"""A comparison as one HTML page that needs nothing else: tables, and pictures inside the file."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from datetime import date

from jinja2 import Environment
from markupsafe import Markup
from matplotlib import rc_context

from fewshot_cli.compare.comparison import Setting
from fewshot_cli.compare.plots import Picture
from fewshot_cli.compare.tables import Words, word

NARROW = 3.9  # inches: what a telephone of 390 pixels shows without making letters smaller
WIDEST = 7.2  # inches of a picture that can be drawn as narrow; others are scrolled
# A column is sorted by its head, and filtered by words, or by a number such as >80.
SCRIPT = """
const number = text => {
  const found = parseFloat(text.replaceAll(",", ""));
  return Number.isNaN(found) ? null : found;
};
const fits = (text, wanted) => {
  const bound = /^([<>])(=?)\\s*(-?[\\d.]+)\\s*%?$/.exec(wanted);
  if (!bound) return text.toLowerCase().includes(wanted.toLowerCase());
  const [own, limit] = [number(text), Number(bound[3])];
  if (own === null) return false;
  return (bound[1] === "<" ? own < limit : own > limit) || (bound[2] && own === limit);
};
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const filters = heads.map((head, column) => {
    const name = head.textContent;
    const button = document.createElement("button"), filter = document.createElement("input");
    button.textContent = name;
    button.title = "sort";
    filter.placeholder = "filter";
    filter.setAttribute("aria-label", `filter ${name}`);
    head.replaceChildren(button, filter);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = row => {
        const text = row.cells[column].textContent;
        return head.className === "word" ? text || null : number(text);
      };
      rows.sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        if (a === null || b === null) return (a === null) - (b === null);
        return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
      });
      body.append(...rows);
    });
    filter.addEventListener("input", () => {
      for (const row of rows) {
        const keeps = (each, at) => fits(row.cells[at].textContent, each.value.trim());
        row.hidden = !filters.every(keeps);
      }
    });
    return filter;
  });
}
"""
DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; style-src 'unsafe-inline'; img-src data:;
               script-src 'sha256-{{ digest }}'">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --line: #d0d7de; --soft: #57606a; --head: #f2f4f6; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --soft: #9da7b1; --head: #21262d; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.35rem 0.7rem; white-space: nowrap; }
th { background: var(--head); vertical-align: top; }
th button { font: inherit; font-weight: bold; color: inherit; background: none; border: 0;
            padding: 0; cursor: pointer; }
th input { display: block; width: 100%; min-width: 3.5rem; box-sizing: border-box; font: inherit;
           font-size: 0.8rem; border: 1px solid var(--line); border-radius: 4px; }
th.number button::before, th.word button::after { content: " "; color: var(--soft); }
th[aria-sort=ascending].number button::before { content: "▲ "; }
th[aria-sort=descending].number button::before { content: "▼ "; }
th[aria-sort=ascending].word button::after { content: " ▲"; }
th[aria-sort=descending].word button::after { content: " ▼"; }
.number { text-align: right; }
.word { text-align: left; }
.caption, figcaption { color: var(--soft); font-size: 0.9rem; max-width: 60rem; }
figure { margin: 1.5rem 0; }
picture img { max-width: 100%; height: auto; }
/* Ink on nothing: black becomes white, and each colour keeps its hue. */
@media (prefers-color-scheme: dark) { img { filter: invert(1) hue-rotate(180deg); } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="caption">{{ where }}, {{ day }}</p>
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
<figure><div class="wide">
{%- if picture.narrow %}<picture>
<source media="(max-width: 640px)"
        srcset="data:image/svg+xml;base64,{{ picture.narrow }}">{% endif %}
<img alt="{{ picture.caption }}" src="data:image/svg+xml;base64,{{ picture.svg }}">
{%- if picture.narrow %}</picture>{% endif %}</div>
<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}
<script>{{ script }}</script>
</body>
</html>
"""


def page(
    settings: Sequence[Setting], where: str, tables: Sequence[Words], pictures: Sequence[Picture]
) -> str:
    """The page; everything that comes from files is text in it, never markup.

    Args:
        where: the folders that were compared.
    """
    shown = [
        {"caption": each.caption, "svg": _svg(each), "narrow": _narrow(each)} for each in pictures
    ]
    template = Environment(autoescape=True).from_string(TEMPLATE)
    return template.render(
        title=title(settings),
        where=word(where),
        day=date.today().isoformat(),
        tables=tables,
        pictures=shown,
        script=Markup(SCRIPT),
        digest=DIGEST,
    )


def title(settings: Sequence[Setting]) -> str:
    """What was compared: `omniglot, cnn4, 5-way 1-shot`; what differs stands side by side."""
    told = [
        [word(setting.settings.get(f"{group}.name")) for setting in settings]
        for group in ("data", "model")
    ]
    told.append([_task(setting) for setting in settings])
    return ", ".join(" / ".join(dict.fromkeys(each)) for each in told if each) or "fewshot compare"


def _task(setting: Setting) -> str:
    ways, shots = (word(setting.settings.get(key)) for key in ("ways", "shots"))
    return f"{shots} points" if ways == "1" else f"{ways}-way {shots}-shot"


def _svg(picture: Picture) -> str:
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": picture.name}):
        picture.figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    return base64.b64encode(file.getvalue()).decode()


def _narrow(picture: Picture) -> str | None:
    """The same picture for a telephone, its legend below; None: it cannot be as narrow."""
    figure = picture.figure
    width, height = figure.get_size_inches()
    if width > WIDEST:
        return None
    legends = figure.legends
    names = max((len(legend.get_texts()) for legend in legends), default=0)
    figure.set_size_inches(NARROW, max(height, 3.0) + 0.2 * names)
    for legend in legends:
        legend.set_loc("outside lower center")
    drawn = _svg(picture)
    figure.set_size_inches(width, height)
    for legend in legends:
        legend.set_loc("outside right upper")
    return drawn

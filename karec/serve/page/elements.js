// Elements of HTML and SVG. Whatever a service says becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const at = (id) => document.getElementById(id);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const html = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

// columns: [{title, of: row => text, n: whether it is a number}]; the first column heads its row.
export function table(columns, rows, caption, marked = () => null) {
  const head = columns.map(({ title, n }) => html("th", { scope: "col", class: n ? "n" : null }, title));
  const line = (row) =>
    html("tr", { class: marked(row) }, columns.map(({ of, n }, i) =>
      html(i ? "td" : "th", { scope: i ? null : "row", class: n ? "n" : "any" }, of(row))));
  return html("table", {},
    html("caption", { class: "unseen" }, caption), html("thead", {}, html("tr", {}, head)), html("tbody", {}, rows.map(line)));
}

export const pairs = (entries) =>
  html("dl", { class: "pairs" }, entries.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]));

export function options(select, names, chosen) {
  const have = [...select.options].map((each) => each.value);
  if (have.join("\n") === names.join("\n")) return;
  select.replaceChildren(...names.map((name) => html("option", { value: name, selected: name === chosen }, name)));
}

export const replaced = (id, ...children) => at(id).replaceChildren(...children.flat().filter(Boolean));

// What feeds do to creators and works: curves of a window's measures.

import { at, html } from "./elements.js";
import { curves, put } from "./charts.js";
import { count, fixed, share } from "./numbers.js";

const MINUTE_MS = 60_000;
const CHARTS = [
  { title: "Creators' exposure, Gini", most: 1, format: (value) => fixed(value, 2), of: { Gini: "creators_gini" } },
  { title: "Creators and works shown", format: count, of: { works: "works", creators: "creators" } },
  { title: "First shown", format: count, of: { works: "works_first" } },
  { title: "Young works", most: 1, format: (value) => share(value, 0), of: { "under 72 h": "young_72h", "under 24 h": "young_24h" } },
];

export function ecosystem(status, name) {
  const [[exposure, told]] = Object.entries({ ...status.ecosystem, none: {} });
  const points = told.history?.[name] ?? [];
  at("ecosystem").hidden = !points.length;
  at("ecosystem-note").textContent = points.length
    ? `What feeds show, as ${exposure}: measured once a minute over all workers. ${count(points.at(-1).exposures)} exposures in this window.`
    : "What feeds show is measured once a minute; there is nothing yet.";
  if (!points.length) return;
  const times = points.map((point) => new Date((point.minute + 1) * MINUTE_MS));
  for (const [i, chart] of CHARTS.entries()) {
    const place = at("ecosystem").children[i] ?? at("ecosystem").appendChild(
      html("section", { "aria-label": chart.title }, html("h3", {}, chart.title), html("p", { class: "legend" }), html("div", { class: "chart" })));
    const series = Object.entries(chart.of).map(([label, key]) => ({ name: label, values: points.map((point) => point[key] ?? null) }));
    const last = series.map(({ values }) => chart.format(values.at(-1)));
    place.children[1].replaceChildren(...series.map(({ name: label }, which) => html("span", { class: which ? "second" : null }, `${label} `, html("b", {}, last[which]))));
    const said = `${chart.title}, now ${series.map((each, at_) => `${each.name} ${last[at_]}`).join(", ")}`;
    const columns = [{ title: "time", of: (row) => row.time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" }) },
      ...series.map(({ name: label }, which) => ({ title: label, of: (row) => chart.format(row.values[which]), n: true }))];
    const rows = times.map((time, at_) => ({ time, values: series.map(({ values }) => values[at_]) })).reverse();
    put(place.lastElementChild, curves(place.lastElementChild, said, times, series, chart), columns, rows, chart.title);
  }
}

// Charts of our own, drawn to the width that there is, each with a table that says the same.

import { html, svg, table } from "./elements.js";
import { linear, roundTo } from "./scales.js";

export const LEFT = 76;
const RIGHT = 76, ROW = 40, SPACE = 40; // SPACE: between two numbers of the axis

export function drawing(width, height, title, ...children) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title },
    svg("title", {}, title), ...children);
}

export const widthOf = (place) => Math.max(Math.floor(place.clientWidth), 240);

export const asTable = (columns, rows, caption) =>
  html("details", { class: "asatable" }, html("summary", {}, "As a table"),
    html("div", { class: "wide", role: "region", "aria-label": caption, tabindex: 0 }, table(columns, rows, caption)));

// Redraws in place: a table that is open stays open, and keeps the focus.
export function put(place, chart, columns, rows, caption) {
  const before = place.querySelector(":scope > details");
  if (before === null) return place.replaceChildren(chart, asTable(columns, rows, caption));
  place.firstElementChild.replaceWith(chart);
  before.lastElementChild.replaceChildren(table(columns, rows, caption));
}

// rows: [{name}], one below the other; draw(row, y, x) gives what stands in its row; ticks: values below.
export function rowsChart(place, title, rows, { scale, ticks, tick, draw, unit }) {
  const width = widthOf(place), height = rows.length * ROW + 34;
  const x = scale(width - LEFT - RIGHT);
  const every = ticks.length > 1 ? Math.ceil(SPACE / (x(ticks[1]) - x(ticks[0]))) : 1;
  const apart = ticks.filter((_, i) => i % every === 0);
  const lines = apart.map((value) => svg("g", {},
    svg("line", { class: "grid", x1: LEFT + x(value), x2: LEFT + x(value), y1: 0, y2: rows.length * ROW }),
    svg("text", { x: LEFT + x(value), y: rows.length * ROW + 14, "text-anchor": "middle" }, tick(value))));
  const drawn = rows.map((row, i) => svg("g", {},
    svg("text", { class: "label", x: LEFT - 10, y: i * ROW + ROW / 2 + 4, "text-anchor": "end" }, clipped(row.name)),
    ...draw(row, i * ROW + ROW / 2, (value) => LEFT + x(value))));
  const axis = svg("text", { x: LEFT + x(apart.at(-1)), y: rows.length * ROW + 30, "text-anchor": "end" }, unit);
  return drawing(width, height, title, ...lines, ...drawn, axis);
}

const clipped = (name) => (name.length > 10 ? `${name.slice(0, 9)}…` : name);

// series: [{name, values: [number | null]}], of one length; times: [Date]. most: the axis' end, or null: as needed.
export function curves(place, title, times, series, { most = null, format }) {
  const width = widthOf(place), height = 150, left = 44, bottom = 22, right = 8, top = 8;
  const end = most ?? roundTo(Math.max(...series.flatMap(({ values }) => values.map((value) => value ?? 0)), 0));
  const y = linear(end, height - top - bottom), first = times[0], last = times.at(-1);
  const x = (time) => left + (last > first ? (time - first) / (last - first) : 1) * (width - left - right);
  const level = (value) => height - bottom - y(value);
  const grid = [0, end / 2, end].map((value) => svg("g", {},
    svg("line", { class: "grid", x1: left, x2: width - right, y1: level(value), y2: level(value) }),
    svg("text", { x: left - 6, y: level(value) + 4, "text-anchor": "end" }, format(value))));
  const drawn = series.flatMap(({ values }, which) => {
    const points = values.map((value, i) => (value === null || value === undefined ? null : [x(times[i]), level(value)]));
    const class_ = which ? "second" : "";
    const known = points.filter(Boolean);
    return [
      svg("polyline", { class: `curve ${class_}`, points: known.map((point) => point.map((v) => v.toFixed(1)).join()).join(" ") }),
      known.length ? svg("circle", { class: `point ${class_}`, r: 3, cx: known.at(-1)[0], cy: known.at(-1)[1] }) : null,
    ];
  });
  const moment = (time) => time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const ends = last > first ? [[first, "start", left], [last, "end", width - right]] : [[last, "end", width - right]];
  const axis = ends.map(([time, anchor, where]) => svg("text", { x: where, y: height - 5, "text-anchor": anchor }, moment(time)));
  return drawing(width, height, title, ...grid, ...drawn, ...axis);
}

// Latency of each stage: half of the calls, and 99 of 100.

import { at, replaced, svg } from "./elements.js";
import { put, rowsChart } from "./charts.js";
import { stagesOf } from "./funnel.js";
import { ms } from "./numbers.js";
import { linear, roundTo } from "./scales.js";

export function latency(scene) {
  const stages = stagesOf(scene);
  if (!stages.length) return replaced("latency", "Nothing was asked of late.");
  const whole = { stage: "all", p50: scene.p50, p95: scene.p95, p99: scene.p99 };
  const rows = [...stages, whole].map((row) => ({ ...row, name: row.stage }));
  const end = roundTo(Math.max(...rows.map((row) => row.p99 ?? 0)));
  const told = rows.map((row) => `${row.name} ${ms(row.p50)} and ${ms(row.p99)}`).join(", ");
  const chart = rowsChart(at("latency"), `Latency in milliseconds, p50 and p99: ${told}`, rows, {
    scale: (length) => linear(end, length),
    ticks: [0, end / 2, end], tick: (value) => String(+value.toFixed(2)), unit: "ms",
    draw: ({ p50, p99 }, y, x) => [
      svg("line", { class: "span", x1: x(p50), x2: x(p99), y1: y, y2: y }),
      svg("circle", { class: "dot", cx: x(p50), cy: y, r: 5 }),
      svg("circle", { class: "dot late", cx: x(p99), cy: y, r: 4 }),
      svg("text", { class: "value", x: x(p99) + 10, y: y + 4 }, `${ms(p50)} / ${ms(p99)}`),
    ],
  });
  const columns = [
    { title: "stage", of: (row) => row.name },
    { title: "p50 ms", of: (row) => ms(row.p50), n: true },
    { title: "p95 ms", of: (row) => ms(row.p95), n: true },
    { title: "p99 ms", of: (row) => ms(row.p99), n: true },
  ];
  put(at("latency"), chart, columns, rows, "Latency of each stage");
}

// The funnel: how many works come into each stage and leave it; and every step as a table.

import { at, replaced, svg, table } from "./elements.js";
import { put, rowsChart } from "./charts.js";
import { count, ms, NONE, share } from "./numbers.js";
import { logarithmic, powers, short } from "./scales.js";

export const stagesOf = (scene) => (scene.stages ?? []).filter((stage) => stage.p50 !== null && stage.p50 !== undefined);

export function funnel(scene) {
  const stages = stagesOf(scene).filter((stage) => stage.n_in > 0 || stage.n_out > 0);
  if (!stages.length) return replaced("funnel", "Nothing was asked of late.");
  const most = Math.max(...stages.flatMap(({ n_in, n_out }) => [n_in, n_out]));
  const told = stages.map(({ stage, n_in, n_out }) => `${stage} ${count(n_in)} to ${count(n_out)}`).join(", ");
  const rows = stages.map((stage) => ({ ...stage, name: stage.stage }));
  const chart = rowsChart(at("funnel"), `Funnel: ${told}`, rows, {
    scale: (length) => logarithmic(most, length),
    ticks: powers(most), tick: short, unit: "works",
    draw: ({ n_in, n_out }, y, x) => [
      svg("rect", { class: "bar-in", x: x(0), y: y - 12, width: Math.max(x(n_in) - x(0), 0), height: 24, rx: 2 }),
      svg("rect", { class: "bar-out", x: x(0), y: y - 7, width: Math.max(x(n_out) - x(0), 1), height: 14, rx: 2 }),
      svg("text", { class: "value", x: x(Math.max(n_in, n_out)) + 7, y: y + 4 }, count(Math.round(n_out))),
    ],
  });
  const columns = [
    { title: "stage", of: (row) => row.stage },
    { title: "in", of: (row) => count(row.n_in), n: true },
    { title: "out", of: (row) => count(row.n_out), n: true },
  ];
  put(at("funnel"), chart, columns, stages, "Works into and out of each stage");
}

const BEFORE = ["state", "query_hydrator"]; // roles that see no works

export function steps(scene) {
  const rows = stagesOf(scene).flatMap((stage) => (stage.steps ?? []).map((step) => ({ stage: stage.stage, ...step })));
  if (!rows.length) return replaced("steps", "Nothing was asked of late.");
  const columns = [
    { title: "step", of: (row) => `${row.stage}.${row.step}` },
    { title: "role", of: (row) => row.role.replace("_", " ") },
    { title: "in", of: (row) => (BEFORE.includes(row.role) || row.role === "source" ? NONE : count(row.n_in)), n: true },
    { title: "out", of: (row) => (BEFORE.includes(row.role) ? NONE : count(row.n_out)), n: true },
    { title: "p50 ms", of: (row) => ms(row.p50), n: true },
    { title: "p99 ms", of: (row) => ms(row.p99), n: true },
    { title: "failed", of: (row) => share(row.failed, 2), n: true },
  ];
  replaced("steps", table(columns, rows, "Every step", (row) => (row.failed > 0 ? "bad" : null)));
}

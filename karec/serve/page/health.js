// Tiles, versions and ages, workers, what was degraded, what was let in.

import { html, pairs, replaced, table } from "./elements.js";
import { bytes, count, fixed, ms, NONE, seconds, share } from "./numbers.js";

const counted = (status, name, scene) =>
  (status.counted?.[name] ?? []).filter((row) => scene === undefined || row.scene === scene);
const read = (status, name) => status.read?.[name] ?? [];
const sum = (rows) => rows.reduce((total, row) => total + row.n, 0);

export function tiles(status, scene, name) {
  const refused = sum(counted(status, "karec_refused"));
  const tile = (title, value, unit = "", bad = false) =>
    html("div", { class: bad ? "bad" : null }, html("dt", {}, title), html("dd", {}, value, unit ? html("small", {}, ` ${unit}`) : null));
  replaced("tiles",
    tile("answers a second", fixed(scene.per_second ?? 0, 1)),
    tile("p50", ms(scene.p50), "ms"),
    tile("p95", ms(scene.p95), "ms"),
    tile("p99", ms(scene.p99), "ms"),
    tile("degraded", share(scene.degraded), "", scene.degraded > 0),
    tile("answered in all", count(scene.answers ?? 0)),
    tile("refused in all", count(refused)),
    tile("unknown users", count(sum(counted(status, "karec_answers_cold", name)))));
}

export function versions(status, name) {
  const told = status.versions?.[name] ?? {};
  const value = (metric, which) => read(status, metric).find((row) => which === undefined || row.which === which)?.value;
  const rows = read(status, "karec_index_rows").map((row) => [`rows of model ${row.model_version}, ${row.space}`, count(row.value)]);
  const ages = ["youngest", "median", "oldest"].map((which) => [which, seconds(value("karec_vectors_age_seconds", which))]);
  const oneAge = ages.every(([, age]) => age === ages[0][1]);
  replaced("versions", pairs([
    ["bundle", String(told.bundle ?? NONE)],
    ["model", String(told.model ?? NONE)],
    ["karec", String(status.karec ?? NONE)],
    ["age of the bundle", seconds(value("karec_bundle_age_seconds"))],
    ...rows,
    ["age of vectors", oneAge ? ages[0][1] : ages.map(([which, age]) => `${which} ${age}`).join(", ")],
    ...read(status, "karec_index_generation").map((row) => [`generation, ${row.space}`, count(row.value)]),
    ["refresh", refreshOf(value("karec_refresh_round"), value("karec_refresh_share"))],
    ["events not followed yet", count(value("karec_state_events_behind"))],
  ].filter(([, text]) => text !== NONE)));
}

const refreshOf = (round, done) => (round ? `round ${count(round)}, ${share(done)} done` : NONE);

export function workers(status) {
  const board = status.workers ?? [], measured = status.processes ?? [];
  const rows = board.map((row) => ({ ...row, ...measured.find((other) => other.pid === row.pid) }));
  const now = Date.now() / 1000;
  const columns = [
    { title: "process", of: (row) => String(row.pid) },
    { title: "state", of: (row) => row.state ?? NONE },
    { title: "for", of: (row) => seconds(Math.max(now - (row.since_s ?? row.begun_s), 0)), n: true },
    { title: "memory", of: (row) => bytes(row.pss ?? row.rss), n: true },
    { title: "deaths", of: (row) => count(row.deaths), n: true },
    { title: "reloads", of: (row) => count(row.reloads), n: true },
  ];
  const whys = rows.filter((row) => row.why).map((row) => html("p", { class: "problem" }, `${row.pid}: ${row.why}`));
  replaced("workers", table(columns, rows, "Workers", (row) => (row.state && row.state !== "ready" ? "bad" : null)), whys);
}

export function degraded(status, name) {
  const rows = counted(status, "karec_degraded", name).sort((a, b) => b.n - a.n);
  if (!rows.length) return replaced("degraded", html("p", {}, "No step failed or gave way since the start."));
  const columns = [{ title: "what", of: (row) => row.what }, { title: "feeds", of: (row) => count(row.n), n: true }];
  replaced("degraded", table(columns, rows, "What was degraded, in how many feeds"));
}

export function admission(status) {
  const lanes = Object.entries(status.admission ?? {});
  const columns = [
    { title: "calls", of: ([name]) => (name === "recommend" ? "feeds" : "all else") },
    { title: "inside", of: ([, lane]) => count(lane.inside), n: true },
    { title: "threads", of: ([, lane]) => count(lane.threads), n: true },
    { title: "usually ms", of: ([, lane]) => ms(lane.usual_ms), n: true },
  ];
  const refused = counted(status, "karec_refused").map((row) => [row.reason, count(row.n)]);
  const replies = counted(status, "karec_requests").filter((row) => row.status >= "400").map((row) => [`${row.status} ${row.route}`, count(row.n)]);
  replaced("admission", table(columns, lanes, "Calls inside, of all workers"),
    html("h3", {}, "Refused since the start"), refused.length ? pairs(refused) : html("p", {}, "Nothing."),
    replies.length ? [html("h3", {}, "Other refusals"), pairs(replies)] : null);
}

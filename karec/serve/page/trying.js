// Try a user: one request as the knobs say, and the one beside it.

import { call } from "./call.js";
import { at, html, options, table } from "./elements.js";
import { cards, marks } from "./feed.js";
import { show } from "./known.js";
import { count, ms, NONE } from "./numbers.js";
import { asked, knobs, slides } from "./variants.js";

const WAIT_MS = 150; // after the last change
const AGAIN_MS = 2000; // a service that is not there is asked again
const OLD_MS = 48 * 3_600_000; // of a bundle whose own moment can be asked for
let told = null, running = null, timer = 0;

const scene = () => told.scenes[at("scene").value];

// The id as JSON: digits of a platform of integers stay exact, without zeros before them, which JSON has not.
export const idOf = (text, ids) => (ids === "integer" && /^-?\d+$/.test(text) ? text.replace(/^(-?)0+(?=\d)/, "$1") : JSON.stringify(text));

function bodyOf({ diversity, without }) {
  const time_ms = at("as-of").checked && !at("then").hidden ? scene().moment_ms : null;
  const rest = JSON.stringify({ scene: at("scene").value, k: Number(at("k").value), diversity, without, time_ms });
  return `{"user":${idOf(at("user").value.trim(), scene().ids)},${rest.slice(1)}`;
}

async function run() {
  clearTimeout(timer);
  if (told === null || !at("ask").reportValidity()) return;
  running?.abort();
  running = new AbortController();
  const { signal } = running, want = asked(scene());
  at("try").setAttribute("aria-busy", "true");
  try {
    const [left, right] = await Promise.all(
      [want.left, want.right].map((each) => call("/v1/try", { body: bodyOf(each), signal })));
    draw(left, right);
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error);
  }
  at("try").setAttribute("aria-busy", "false");
}

function fail(error) {
  at("told").className = "told problem";
  at("told").textContent = error.message;
  for (const place of ["left", "right"]) at(place).replaceChildren();
  at("trace-sheet").hidden = true;
}

function draw(left, right) {
  const look = scene().works ? (id) => show("works", id) : null;
  const changes = marks(left.feed, right.feed, true);
  cards("left", left, changes, look);
  cards("right", right, marks(right.feed, left.feed, false), look);
  const n = (kind) => changes.filter((mark) => mark.kind === kind).length;
  at("right-title").textContent = at("beside").value === "plain" ? "Plain top-k" : "The scene as it is";
  at("left-note").textContent = noteOf(left.feed);
  at("right-note").textContent = noteOf(right.feed);
  at("told").className = "told";
  at("told").textContent = [
    `${left.feed.items.length} ${scene().works ? "works" : "items"} for ${at("user").value.trim()}`,
    left.feed.cold_start ? "nobody knows this user" : null,
    `${n("new")} new, ${n("moved")} moved, ${n("same")} the same`,
    ...(left.feed.short ? [left.feed.short] : []),
    ...left.feed.degraded.map((what) => `degraded: ${what}`),
  ].filter(Boolean).join(" · ");
  trace(left.feed);
}

const noteOf = (feed) => `${ms(feed.ms)} ms`;

function trace(feed) {
  const columns = [
    { title: "step", of: (row) => `${row.stage}.${row.step}` },
    { title: "in", of: (row) => (row.n_out < 0 || row.role === "source" ? NONE : count(row.n_in)), n: true },
    { title: "out", of: (row) => (row.n_out < 0 ? NONE : count(row.n_out)), n: true },
    { title: "ms", of: (row) => ms(row.ms), n: true },
    { title: "notes", of: (row) => notesOf(row) },
  ];
  at("trace").replaceChildren(table(columns, feed.trace ?? [], "Steps of this feed", (row) => (row.failure ? "bad" : null)));
  at("trace-sheet").hidden = false;
}

const notesOf = ({ notes, failure, why, n_removed }) => [
  failure, n_removed > 0 && why ? why : null,
  ...Object.entries(notes ?? {}).filter(([key]) => key !== "explanation").map(([key, value]) => `${key} ${Number.isInteger(value) || typeof value !== "number" ? value : value.toPrecision(4)}`),
].filter(Boolean).join("; ");

const soon = () => { clearTimeout(timer); timer = setTimeout(run, WAIT_MS); };

function chosen() {
  knobs(scene(), () => { slides(scene()); soon(); });
  const users = scene().users.map(({ user, history }) =>
    html("button", { type: "button", onclick: () => { at("user").value = user; run(); } }, String(user), html("small", {}, ` history ${history}`)));
  at("samples").replaceChildren("Some users:", ...users);
  at("samples").hidden = !users.length;
  at("then").hidden = scene().moment_ms === null || Date.now() - scene().moment_ms < OLD_MS;
  if (!at("user").value && scene().users.length) at("user").value = scene().users[Math.min(1, scene().users.length - 1)].user;
}

// Reads what can be tried when the view is first looked at, and runs the first user.
export async function shown() {
  if (told !== null || at("try").hidden) return;
  clearTimeout(timer);
  try {
    told = await call("/v1/try");
  } catch (error) {
    timer = setTimeout(shown, AGAIN_MS);
    return fail(error);
  }
  at("k").max = String(Math.min(told.k, 100));
  options(at("scene"), Object.keys(told.scenes), told.scene);
  chosen();
  run();
}

export function begin() {
  at("ask").addEventListener("submit", (event) => { event.preventDefault(); run(); });
  at("scene").addEventListener("change", () => { chosen(); run(); });
  at("beside").addEventListener("change", run);
  at("as-of").addEventListener("change", run);
  at("k").addEventListener("change", run);
  at("diversity").addEventListener("input", () => { slides(scene()); soon(); });
}

// What is known of a user or a work, readably.

import { call } from "./call.js";
import { at, html, pairs } from "./elements.js";
import { count, NONE } from "./numbers.js";

const readable = (name) => name.replace(/_ms$/, "").replaceAll("_", " ");

function valueOf(name, value) {
  if (value === null || value === undefined || value === "") return NONE;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map(String).join(", ");
  if (name.endsWith("_ms") && value > 0) return new Date(value).toISOString().replace("T", " ").slice(0, 19) + " UTC";
  if (typeof value === "object") return JSON.stringify(value);
  return typeof value === "number" && !/(^|_)id$/.test(name) ? count(value) : String(value);
}

const isCounter = ([name]) => name.startsWith("count_");
const told = (entries, cut = "") => pairs(entries.map(([name, value]) => [readable(name.slice(cut.length)), valueOf(name, value)]));
const section = (title, ...children) => html("section", {}, html("h2", {}, title), ...children);

function userOf(found) {
  const columns = Object.entries(found.columns ?? {}), counters = columns.filter(isCounter);
  const own = columns.filter((each) => !isCounter(each));
  const lists = Object.entries(found.lists ?? {});
  const ids = (newest) => html("p", { class: "ids" }, ...newest.map((id) => html("span", {}, String(id))));
  return [
    section(`User ${found.user}`, found.known ? null : html("p", {}, "Nobody knows this user: a request of theirs is a cold start."),
      found.behind ? html("p", { class: "problem" }, String(found.behind)) : null, own.length ? told(own) : null),
    counters.length ? section("Counters", told(counters, "count_")) : null,
    ...lists.map(([name, list]) => section(`${readable(name)}, ${count(list.n)}`, list.n
      ? [html("p", { class: "note" }, list.newest.length < list.n ? `the newest ${list.newest.length}, newest first` : "newest first"), ids(list.newest)]
      : html("p", { class: "note" }, "none"))),
  ];
}

function workOf(found) {
  const columns = Object.entries(found.columns ?? {});
  const state = [["in_index", found.in_index], ["model_version", found.model_version], ["blocked", found.blocked], ["offset", found.offset]];
  return [
    told([...state, ...columns.filter((each) => !isCounter(each))]),
    columns.some(isCounter) ? html("h3", {}, "Counters") : null, told(columns.filter(isCounter), "count_"),
  ];
}

// A work opens in a dialog; a user in the view of users and works.
export async function show(kind, id) {
  if (kind !== "works") return look(kind, id);
  at("work-title").textContent = `Work ${id}`;
  at("work-found").replaceChildren(html("p", {}, "…"));
  if (!at("work").open) at("work").showModal();
  try {
    at("work-found").replaceChildren(...workOf(await call(`/v1/works/${encodeURIComponent(id)}`)).filter(Boolean));
  } catch (error) {
    at("work-found").replaceChildren(html("p", { class: "problem" }, error.message));
  }
}

async function look(kind, id) {
  at("look-told").className = "told";
  at("look-told").textContent = "…";
  at("look-found").replaceChildren();
  try {
    const found = await call(`/v1/${kind}/${encodeURIComponent(id)}`);
    const parts = kind === "users" ? userOf(found) : [section(`Work ${found.work}`, ...workOf(found))];
    at("look-found").replaceChildren(...parts.filter(Boolean));
    at("look-told").textContent = "";
  } catch (error) {
    at("look-told").className = "told problem";
    at("look-told").textContent = error.message;
  }
}

export function begin() {
  at("look").addEventListener("submit", (event) => {
    event.preventDefault();
    look(at("look-kind").value, at("look-id").value.trim());
  });
  at("know").addEventListener("click", () => lookUp("users", at("user").value.trim()));
  at("work-close").addEventListener("click", () => at("work").close());
}

// Looks up the user who is being tried, unless something was looked up here.
export function shown() {
  if (!at("look-id").value && at("user").value) lookUp("users", at("user").value.trim());
}

function lookUp(kind, id) {
  at("look-kind").value = kind;
  at("look-id").value = id;
  look(kind, id);
}

// A feed as cards, and what differs between two of them.

import { at, html } from "./elements.js";
import { hours } from "./numbers.js";

// {id: place} of a feed.
const placesOf = (feed) => new Map(feed.items.map((item) => [item.id, item.position]));

// For each item of `feed`: {kind: "new" | "moved" | "gone" | "same", by: places}; `left`: whether it is the changed one.
export function marks(feed, other, left) {
  const places = placesOf(other);
  return feed.items.map(({ id, position }) => {
    if (!places.has(id)) return { kind: left ? "new" : "gone", by: 0 };
    const by = places.get(id) - position;
    return by && left ? { kind: "moved", by } : { kind: "same", by: 0 };
  });
}

const SIGN = { new: () => "new", gone: () => "gone", moved: (by) => (by > 0 ? `▲ ${by}` : `▼ ${-by}`), same: () => "" };
const SAID = {
  new: () => "not in the other feed", gone: () => "not in the changed feed", same: () => null,
  moved: (by) => `${Math.abs(by)} ${Math.abs(by) === 1 ? "place" : "places"} ${by > 0 ? "higher" : "lower"} than in the other feed`,
};

function factsOf(work) {
  const named = { song_id: "song", creator_id: "creator", type: "type", tag: "tag" };
  const facts = Object.entries(named).filter(([key]) => key in work).map(([key, name]) => [name, String(work[key])]);
  if ("age_hours" in work) facts.push(["age", hours(Math.max(work.age_hours, 0))]);
  return facts.map(([name, value]) => html("span", {}, html("b", {}, `${name} `), value));
}

// Why a work is where it is: what the last step says first; what found it stands in the line above.
function whyOf(item) {
  const said = (item.why ?? "").split("; ").slice(1).reverse();
  if (!said.length) return html("p", { class: "why" }, `score ${item.score.toPrecision(3)}`);
  return html("details", { class: "why" }, html("summary", {}, said[0]),
    html("ul", {}, ...said.slice(1).map((line) => html("li", {}, line)), html("li", {}, `score ${item.score.toPrecision(3)}`)));
}

function card(item, work, { kind, by }, look) {
  const id = String(item.id);
  const name = look ? html("button", { type: "button", onclick: () => look(id) }, id) : id;
  const mark = kind === "same" ? null : html("span", { class: "mark" }, html("span", { "aria-hidden": "true" }, SIGN[kind](by)), html("span", { class: "unseen" }, SAID[kind](by)));
  return html("li", { class: `card ${kind}`, "data-id": id },
    html("span", { class: "place" }, String(item.position + 1)), html("h3", {}, name), mark ?? html("span"),
    html("p", { class: "facts" }, ...factsOf(work), html("span", {}, html("b", {}, "found by "), item.recalled_by.join(", "))),
    whyOf(item));
}

export function cards(place, tried, marked, look) {
  at(place).replaceChildren(...tried.feed.items.map((item, i) => card(item, tried.works[i], marked[i], look)));
}

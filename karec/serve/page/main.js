// Which view is shown, by the address' hash.

import { at } from "./elements.js";
import * as known from "./known.js";
import * as service from "./service.js";
import * as theme from "./theme.js";
import * as token from "./token.js";
import * as trying from "./trying.js";

const VIEWS = { service, try: trying, known };

function turn(moves) {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "service";
  for (const other of Object.keys(VIEWS)) at(other).hidden = other !== name;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (moves) at("main").focus({ preventScroll: true });
  VIEWS[name].shown();
}

for (const part of [theme, token, known, service, trying]) part.begin();
addEventListener("hashchange", () => { if (location.hash !== "#main") turn(true); });
turn(false);

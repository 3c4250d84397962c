// Asks for the token where the service wants one; calls that wait go on with it.

import { keepToken, whenRefused } from "./call.js";
import { at } from "./elements.js";

let waiting = null;

function ask(why) {
  at("token-why").hidden = !why;
  at("token-why").textContent = why;
  waiting ??= new Promise((go) => {
    at("token").addEventListener("close", () => { waiting = null; go(); }, { once: true });
    at("token").showModal();
  });
  return waiting;
}

export function begin() {
  whenRefused(ask);
  at("token").addEventListener("cancel", (event) => event.preventDefault());
  at("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(at("token-text").value.trim());
    at("token-text").value = "";
    at("token").close();
  });
}

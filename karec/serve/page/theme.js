// Light or dark: as the system, unless told; told is remembered.

import { at } from "./elements.js";

const KEY = "karec.theme";

function put(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

export function begin() {
  const theme = localStorage.getItem(KEY) ?? "";
  at("theme").value = theme;
  put(theme);
  at("theme").addEventListener("change", () => {
    localStorage.setItem(KEY, at("theme").value);
    put(at("theme").value);
  });
}

// The view of the service: polled while it is looked at.

import { call } from "./call.js";
import { ecosystem } from "./ecosystem.js";
import { at, options } from "./elements.js";
import { funnel, steps } from "./funnel.js";
import { admission, degraded, tiles, versions, workers } from "./health.js";
import { latency } from "./latency.js";

const EACH_MS = 2000;
let last = null, timer = 0;

function draw() {
  if (last === null || at("service").hidden) return;
  options(at("service-scene"), Object.keys(last.versions ?? {}), "home");
  const name = at("service-scene").value, scene = last.funnel?.[name] ?? {};
  tiles(last, scene, name);
  funnel(scene);
  latency(scene);
  steps(scene);
  ecosystem(last, at("window").value);
  versions(last, name);
  workers(last);
  degraded(last, name);
  admission(last);
}

function say(text, lost) {
  at("state").classList.toggle("lost", lost);
  if (at("state").textContent !== text) at("state").textContent = text; // told once, not each time
}

async function poll() {
  clearTimeout(timer);
  if (!document.hidden) {
    try {
      last = await call("/v1/status");
      const ready = (last.workers ?? []).filter((worker) => worker.state === "ready").length;
      say(`${ready} of ${last.workers.length} workers ready`, ready < last.workers.length);
      draw();
    } catch (error) {
      say(error.message, true);
    }
  }
  timer = setTimeout(poll, EACH_MS);
}

export function begin() {
  at("service-scene").addEventListener("change", draw);
  at("window").addEventListener("change", draw);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
  new ResizeObserver(draw).observe(at("main"));
  poll();
}

export const shown = draw;

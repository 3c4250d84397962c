// The knobs of a scene: the slider of diversity, and a switch for each step that can be left out.

import { at, html } from "./elements.js";

const PLAIN_LACKS = ["diversify", "rerank"]; // rooms of steps that a plain top-k has not
const OF_FEEDS = ["ecosystem", "diversify", "rerank", "own"];

export function knobs(scene, changed) {
  const stages = [...new Set(scene.steps.map(({ place }) => place.split(".")[0]))];
  const fieldset = (stage, steps) => html("fieldset", {}, html("legend", {}, stage), ...steps.map((step) =>
    html("label", {}, html("input", { type: "checkbox", checked: true, value: step.place, onchange: changed }), stepOf(step))));
  const groups = (wanted) => stages.flatMap((stage) => {
    const steps = scene.steps.filter((step) => step.optional && step.place.split(".")[0] === stage && wanted(step));
    return steps.length ? [fieldset(stage, steps)] : [];
  });
  const others = groups((step) => !OF_FEEDS.includes(step.room));
  at("switches").replaceChildren(...groups((step) => OF_FEEDS.includes(step.room)),
    ...(others.length ? [html("details", {}, html("summary", {}, "Other steps"), ...others)] : []));
  at("diversity").value = scene.diversity ?? 0;
  slides(scene);
}

const stepOf = ({ place }) => place.split(".").slice(1).join(".");

const without = () =>
  [...at("switches").querySelectorAll("input:not(:checked)")].map((input) => input.value);

// Shows what the slider says, and whether it changes anything.
export function slides(scene) {
  const left = without();
  const some = scene.steps.some((step) => step.diversity !== null && !left.includes(step.place));
  at("diversity").disabled = !some;
  at("diversity-value").textContent = some ? Number(at("diversity").value).toFixed(2) : "no step";
  at("diversity").setAttribute("aria-valuetext", at("diversity-value").textContent);
}

// What is asked of the service: the left feed as the knobs say, the right one beside it.
export function asked(scene) {
  const left = without(), moved = Number(at("diversity").value) !== scene.diversity;
  const diversity = at("diversity").disabled || !moved ? null : Number(at("diversity").value);
  const plain = scene.steps.filter((step) => step.optional && PLAIN_LACKS.includes(step.room)).map((step) => step.place);
  const beside = at("beside").value === "plain" ? [...new Set([...left, ...plain])] : [];
  return { left: { diversity, without: left }, right: { diversity: null, without: beside } };
}

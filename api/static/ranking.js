// Shows what was found: premises with bars, module, statement and documentation; and where the time went.

import { button, element } from "./elements.js";

const LONG_STATEMENT = 420;
const STAGE_COLOURS = 6;

/** `premises` are `{name, score, isNew, module, kind, signature, documentation}`; all but the first three may lack. */
export function renderRanking(premises) {
  return premises.map((premise, place) =>
    element(
      "li",
      { class: "premise" },
      element("span", { class: "rank" }, `${place + 1}`),
      element("div", { class: "name" }, nameOf(premise)),
      scoreOf(premise),
      whereOf(premise),
      premise.signature ? element("div", { class: "statement" }, ...statementOf(premise.signature)) : null,
    ),
  );
}

function nameOf({ name, documentation }) {
  if (!documentation) return name;
  return element("a", { href: documentation, target: "_blank", rel: "noreferrer" }, name);
}

function scoreOf({ score }) {
  const fill = element("div", { class: "fill" });
  fill.style.width = `${Math.max(0, Math.min(1, score)) * 100}%`;
  const track = element("div", { class: "track", "aria-hidden": "true" }, fill);
  return element("div", { class: "score" }, track, element("span", {}, score.toFixed(3)));
}

function whereOf({ kind, module, isNew }) {
  return element(
    "div",
    { class: "where muted" },
    isNew ? element("span", { class: "badge new" }, "new") : null,
    kind ? element("span", { class: "badge" }, kind) : null,
    module ?? null,
  );
}

function statementOf(signature) {
  const letters = [...signature];
  const text = element("pre", {}, signature);
  if (letters.length <= LONG_STATEMENT) return [text];
  text.textContent = `${letters.slice(0, LONG_STATEMENT).join("")} …`;
  const more = button("Show all of it", () => {
    text.textContent = signature;
    more.remove();
  });
  return [text, more];
}

/** A bar of the server's stages, and the rest of the time until the answer was here. */
export function renderTimings(stages, totalMilliseconds) {
  const known = stages.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rest = { name: "other and network", milliseconds: Math.max(0, totalMilliseconds - known), colour: 0 };
  const parts = [...stages.map((stage, place) => ({ ...stage, colour: (place % STAGE_COLOURS) + 1 })), rest];
  const bar = element("div", { class: "stages", "aria-hidden": "true" }, ...parts.map(barPart));
  const entries = parts.map(({ name, milliseconds, colour }) =>
    element("li", {}, element("span", { class: `swatch stage-${colour}` }), `${name} ${milliseconds.toFixed(1)} ms`),
  );
  return [bar, element("ul", { class: "legend", "aria-label": "Where the time went" }, ...entries)];
}

function barPart({ milliseconds, colour }) {
  const part = element("div", { class: `stage-${colour}` });
  part.style.flex = `${milliseconds} 0 0`;
  return part;
}

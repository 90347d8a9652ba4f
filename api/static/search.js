// The first view: asks for premises and shows them.

import { Problem, ask } from "./requests.js";
import { renderRanking, renderTimings } from "./ranking.js";
import { element } from "./elements.js";

const MOST_DETAILS = 1024;

export class Search {
  /** `form` holds `goal`, `number`, `chooser` and `newPremises`; `parts` are the elements that show the answer. */
  constructor(form, parts) {
    this.form = form;
    this.parts = parts;
    this.running = null;
  }

  /** Ask for what the form says; an earlier question that is still open is given up. */
  async run() {
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    this.begin();
    try {
      await this.answer(running.signal);
    } catch (error) {
      if (error.name !== "AbortError") this.fail(error);
    } finally {
      if (this.running === running) this.end();
    }
  }

  async answer(signal) {
    const body = await this.question();
    const started = performance.now();
    const { content: ranked, stages } = await ask("retrieve", { body, signal });
    const milliseconds = performance.now() - started;
    const { premises, note } = await this.describe(ranked, body.new_premises ?? [], signal);
    this.show(premises, stages, milliseconds, note);
  }

  /** The body of `/retrieve`; raises `Problem` where the form is not filled in. */
  async question() {
    const { goal, number, chooser, newPremises } = this.form;
    if (!goal.value.trim()) throw new Problem("There is no goal yet: paste one, or try an example.");
    if (!number.validity.valid) throw new Problem(`Ask for ${number.min} to ${number.max} premises.`);
    const added = newPremises.values();
    if (added.some(({ name, decl }) => !name || !decl)) throw new Problem("A new premise needs a name and a declaration.");
    if (chooser.chosen.length) await chooser.ready();
    return {
      state: goal.value.trim(),
      k: number.valueAsNumber,
      imported_modules: chooser.modules() ?? undefined,
      new_premises: added.length ? added : undefined,
    };
  }

  /** Ranked premises with what the corpus knows of them; without it where that cannot be had. */
  async describe(ranked, added, signal) {
    const declarations = group(added);
    const names = [...new Set(ranked.map(({ name }) => name).filter((name) => !declarations.has(name)))];
    let details = [];
    let note = "";
    try {
      details = names.length ? (await ask("premise-details", { body: { names: names.slice(0, MOST_DETAILS) }, signal })).content : [];
    } catch (error) {
      if (error.name === "AbortError") throw error;
      note = ` Their statements could not be had. ${error.message}`;
    }
    const known = new Map(details.filter(Boolean).map((found) => [found.name, found]));
    return { premises: ranked.map(({ name, score }) => merged(name, score, known, declarations)), note };
  }

  begin() {
    this.say("Searching …");
    this.parts.problem.hidden = true;
    this.parts.ranking.classList.add("stale");
    this.parts.results.setAttribute("aria-busy", "true");
  }

  end() {
    this.running = null;
    this.parts.results.removeAttribute("aria-busy");
    this.parts.ranking.classList.remove("stale");
  }

  show(premises, stages, milliseconds, note) {
    const count = premises.length === 1 ? "1 premise" : `${premises.length} premises`;
    this.say(premises.length ? `${count} in ${milliseconds.toFixed(0)} ms.${note}` : "No premise may be used here: choose other modules.");
    this.parts.timings.replaceChildren(...renderTimings(stages, milliseconds));
    this.parts.timings.hidden = false;
    this.parts.ranking.replaceChildren(...renderRanking(premises));
    this.bringIntoView();
  }

  /** On a narrow screen the answer stands below the form. */
  bringIntoView() {
    if (this.parts.results.getBoundingClientRect().top > window.innerHeight * 0.8) this.parts.results.scrollIntoView();
  }

  fail(problem) {
    const seconds = problem.retryAfterSeconds ?? null;
    const isSaid = seconds === null || problem.message.includes(`${seconds} s`);
    this.say("");
    this.parts.timings.hidden = true;
    this.parts.ranking.replaceChildren();
    this.parts.problem.replaceChildren(
      element("p", {}, problem.message),
      isSaid ? "" : element("p", { class: "muted" }, `The server asks to wait ${seconds} s before the next try.`),
    );
    this.parts.problem.hidden = false;
    this.bringIntoView();
  }

  say(text) {
    this.parts.outcome.textContent = text;
  }
}

/** Declarations of new premises by name, in their order: one name may have several. */
function group(added) {
  const declarations = new Map();
  for (const { name, decl } of added) declarations.set(name, [...(declarations.get(name) ?? []), decl]);
  return declarations;
}

function merged(name, score, known, declarations) {
  const declared = declarations.get(name);
  if (declared) return { name, score, isNew: true, signature: declared.length > 1 ? declared.join("\n") : declared[0] };
  return { ...known.get(name), name, score, isNew: false };
}

// Choosing several modules by typing: an editable combobox with a list, as the ARIA Authoring Practices describe it.

import { button, element } from "./elements.js";

const SHOWN = 40;

export class ModuleChooser {
  /** `load` promises a ModuleList; `parts` are the elements of the page. */
  constructor(parts, load) {
    this.parts = parts;
    this.load = load;
    this.list = null;
    this.chosen = [];
    this.found = [];
    this.active = -1;
    this.opened = 0;
    parts.input.addEventListener("input", () => this.open());
    parts.input.addEventListener("click", () => this.open());
    parts.input.addEventListener("keydown", (event) => this.onKey(event));
    parts.input.addEventListener("blur", () => this.close());
    parts.popup.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays in the input
  }

  /** Names of the modules that were chosen, each once; null where none was: the whole corpus. */
  modules() {
    if (!this.chosen.length) return null;
    return [...new Set(this.chosen.flatMap((label) => this.list?.modulesOf(label) ?? [label]))];
  }

  choose(labels) {
    this.chosen = [...new Set(labels)];
    this.parts.chips.replaceChildren(...this.chosen.map((label) => this.chip(label)));
    this.parts.hint.textContent = this.chosen.length ? "Their premises alone." : "None chosen: the whole corpus.";
  }

  /** The list must be there before labels of whole folders can be turned into modules. */
  async ready() {
    this.list ??= await this.load();
  }

  chip(label) {
    const remove = button("×", () => this.remove(label), { "aria-label": `Remove ${label}` });
    return element("li", {}, element("span", {}, label), remove);
  }

  remove(label) {
    this.choose(this.chosen.filter((other) => other !== label));
    this.say(`${label} removed.`);
    this.parts.input.focus();
  }

  async open() {
    const turn = ++this.opened;
    let problem = null;
    try {
      await this.ready();
    } catch (error) {
      problem = error.message;
    }
    // What was typed while the list was on its way is shown once: shown again, it would lose the option that is active.
    if (turn !== this.opened) return;
    if (problem !== null) {
      this.show([], problem);
      return;
    }
    if (document.activeElement !== this.parts.input) return;
    const { found, count } = this.list.find(this.parts.input.value, SHOWN);
    const rest = count > found.length ? `${count - found.length} more: type on to narrow them down.` : "";
    this.show(found, count ? rest : "No module has such a name.");
    this.say(count === 1 ? "1 match." : `${count} matches.`);
  }

  show(found, note) {
    this.found = found;
    this.parts.options.replaceChildren(...found.map((candidate, place) => this.option(candidate, place)));
    this.parts.options.hidden = !found.length;
    this.parts.more.textContent = note;
    this.parts.popup.hidden = false;
    this.parts.input.setAttribute("aria-expanded", "true");
    this.activate(-1);
  }

  option({ label, modules }, place) {
    const count = modules.length > 1 ? element("span", {}, `${modules.length} modules`) : null;
    const attributes = { role: "option", id: `module-option-${place}`, "aria-selected": "false" };
    const made = element("li", attributes, element("span", {}, label), count);
    made.addEventListener("click", () => this.take(place));
    return made;
  }

  activate(place) {
    this.active = place;
    [...this.parts.options.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === place)));
    const option = this.parts.options.children[place];
    if (option) this.parts.input.setAttribute("aria-activedescendant", option.id);
    else this.parts.input.removeAttribute("aria-activedescendant");
    option?.scrollIntoView({ block: "nearest" });
  }

  take(place) {
    const { label } = this.found[place];
    this.choose([...this.chosen, label]);
    this.parts.input.value = "";
    this.close();
    this.say(`${label} chosen.`);
  }

  close() {
    this.parts.popup.hidden = true;
    this.parts.input.setAttribute("aria-expanded", "false");
    this.activate(-1);
  }

  onKey(event) {
    const isOpen = !this.parts.popup.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (isOpen) this.move(event.key === "ArrowDown" ? 1 : -1);
      else this.open();
    } else if (event.key === "Enter" && isOpen) {
      event.preventDefault();
      if (this.found.length) this.take(Math.max(this.active, 0));
    } else if (event.key === "Escape" && isOpen) {
      event.preventDefault();
      this.close();
    } else if (event.key === "Backspace" && !this.parts.input.value && this.chosen.length) {
      this.remove(this.chosen.at(-1));
    }
  }

  /** Round and round; beyond either end nothing is active. */
  move(step) {
    const places = this.found.length + 1;
    this.activate(((this.active + 1 + step + places) % places) - 1);
  }

  say(text) {
    this.parts.news.textContent = text;
  }
}

// Rows of new premises, each a name and a declaration.

import { button, element } from "./elements.js";

let rows = 0;

export class NewPremises {
  constructor(parts) {
    this.parts = parts;
    parts.add.addEventListener("click", () => this.add().querySelector("input").focus());
  }

  /** `[{name, decl}]` of the rows that are not empty. */
  values() {
    return [...this.parts.rows.children]
      .map((row) => ({ name: row.querySelector("input").value.trim(), decl: row.querySelector("textarea").value.trim() }))
      .filter(({ name, decl }) => name || decl);
  }

  set(premises) {
    this.parts.rows.replaceChildren();
    premises.forEach((premise) => this.add(premise));
  }

  add({ name = "", decl = "" } = {}) {
    const row = this.row(`new-premise-${(rows += 1)}`);
    row.querySelector("input").value = name;
    row.querySelector("textarea").value = decl;
    this.parts.rows.append(row);
    return row;
  }

  row(id) {
    const row = element("div", { class: "new-premise", role: "group", "aria-label": "New premise" });
    const remove = button("Remove", () => this.remove(row), { class: "plain" });
    row.append(
      element("label", { for: `${id}-name` }, "Name"),
      element("input", { id: `${id}-name`, type: "text", spellcheck: "false", placeholder: "My.add_comm" }),
      remove,
      element("label", { for: `${id}-decl` }, "Declaration"),
      element("textarea", {
        id: `${id}-decl`,
        rows: "2",
        spellcheck: "false",
        placeholder: "theorem My.add_comm (a b : Nat) : Eq (HAdd.hAdd a b) (HAdd.hAdd b a)",
      }),
    );
    return row;
  }

  remove(row) {
    row.remove();
    this.parts.add.focus();
  }
}

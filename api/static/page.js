// Puts the page together: tabs, the form, the two views, and the state that the address carries.

import { EXAMPLES } from "./examples.js";
import { ModuleChooser } from "./combobox.js";
import { ModuleList } from "./module_list.js";
import { NewPremises } from "./new_premises.js";
import { Overview } from "./overview.js";
import { Search } from "./search.js";
import { ask } from "./requests.js";
import { button, byId } from "./elements.js";

const LONGEST_ADDRESS = 32_000; // browsers and chat programs cut longer ones, and half a question is none

const tabs = [byId("search-tab"), byId("server-tab")];

const form = {
  goal: byId("goal"),
  number: byId("number"),
  chooser: new ModuleChooser(
    {
      input: byId("module-input"),
      chips: byId("chosen-modules"),
      popup: byId("module-popup"),
      options: byId("module-options"),
      more: byId("module-more"),
      hint: byId("module-hint"),
      news: byId("module-news"),
    },
    async () => new ModuleList((await ask("indexed-modules")).content),
  ),
  newPremises: new NewPremises({ rows: byId("new-premises"), add: byId("add-premise") }),
};

const search = new Search(form, {
  results: byId("results"),
  outcome: byId("outcome"),
  problem: byId("problem"),
  timings: byId("timings"),
  ranking: byId("ranking"),
});

const overview = new Overview({ news: byId("server-news"), cards: byId("overview") });

function select(tab) {
  for (const other of tabs) {
    const isSelected = other === tab;
    other.setAttribute("aria-selected", String(isSelected));
    other.tabIndex = isSelected ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !isSelected;
  }
  overview.watch(tab.id === "server-tab");
}

function onTabKey(event) {
  const places = { ArrowRight: 1, ArrowLeft: -1 };
  const at = tabs.indexOf(event.target);
  const to = { Home: 0, End: tabs.length - 1 }[event.key] ?? (at + (places[event.key] ?? 0) + tabs.length) % tabs.length;
  if (to === at) return;
  event.preventDefault();
  select(tabs[to]);
  remember();
  tabs[to].focus();
}

/** The address carries what was asked, unless that is too long, behind its `#`: it can be sent to others, and no server sees it. */
function remember() {
  const fields = new URLSearchParams();
  if (tabs[1].getAttribute("aria-selected") === "true") fields.set("view", "server");
  if (form.goal.value) fields.set("goal", form.goal.value);
  form.chooser.chosen.forEach((label) => fields.append("module", label));
  for (const { name, decl } of form.newPremises.values()) fields.append("new", JSON.stringify([name, decl]));
  if (form.number.value !== form.number.defaultValue) fields.set("k", form.number.value);
  const address = fields.toString();
  history.replaceState(null, "", address.length > LONGEST_ADDRESS ? location.pathname + location.search : `#${address}`);
}

/** Fill in what the address carries; returns whether there is something to ask. */
function recall() {
  const fields = new URLSearchParams(location.hash.slice(1));
  form.goal.value = fields.get("goal") ?? "";
  form.chooser.choose(fields.getAll("module"));
  form.newPremises.set(fields.getAll("new").flatMap(readNewPremise));
  form.number.value = fields.get("k") ?? form.number.defaultValue;
  select(fields.get("view") === "server" ? tabs[1] : tabs[0]);
  return Boolean(form.goal.value);
}

function readNewPremise(text) {
  try {
    const [name, decl] = JSON.parse(text);
    return [{ name: String(name), decl: String(decl) }];
  } catch {
    return []; // somebody's address was cut: the rest of it is still good
  }
}

function submit() {
  remember();
  search.run();
}

function tryExample(goal) {
  form.goal.value = goal;
  submit();
}

async function introduce() {
  try {
    const { corpus } = (await ask("status")).content;
    const count = new Intl.NumberFormat("en");
    if (corpus) {
      byId("corpus-line").textContent =
        `${count.format(corpus.premises)} premises of ${count.format(corpus.modules)} modules, revision ${corpus.revision}`;
    }
  } catch {
    // The search says what is wrong when it is asked.
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => {
    select(tab);
    remember();
  });
  tab.addEventListener("keydown", onTabKey);
}
byId("examples").append(...EXAMPLES.map(({ title, goal }) => button(title, () => tryExample(goal), { class: "plain" })));
byId("search-form").noValidate = true; // the page says itself what is missing
byId("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
form.goal.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    submit();
  }
});
window.addEventListener("hashchange", () => recall() && search.run());
introduce();
if (recall()) search.run();

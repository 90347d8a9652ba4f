// The corpus' modules, and quick search among thousands of them.

/** What can be chosen: a module, or all modules below a name (`Mathlib.Topology.*`). */
export class ModuleList {
  constructor(modules) {
    this.entries = [...folders(modules), ...modules.map((name) => entry(name, [name]))].sort(shortestFirst);
    this.byLabel = new Map(this.entries.map((found) => [found.label, found]));
  }

  /** Entries that hold every word of the query, best first, and how many there are in all. */
  find(query, limit) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const ranks = [[], [], []]; // each stays in the order of the entries: nothing is sorted at a keystroke
    for (const candidate of this.entries) {
      const rank = rankOf(candidate, words);
      if (rank !== null) ranks[rank].push(candidate);
    }
    const matches = ranks.flat();
    return { found: matches.slice(0, limit), count: matches.length };
  }

  /** The names of modules that an entry's label stands for; a label that is unknown here stands for itself. */
  modulesOf(label) {
    return this.byLabel.get(label)?.modules ?? [label];
  }
}

function entry(label, modules) {
  return { label, modules, lower: label.toLowerCase() };
}

function folders(modules) {
  const below = new Map();
  for (const name of modules) {
    for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
      const folder = name.slice(0, dot);
      if (!below.has(folder)) below.set(folder, []);
      below.get(folder).push(name);
    }
  }
  return [...below].filter(([, names]) => names.length > 1).map(([folder, names]) => entry(`${folder}.*`, names));
}

function shortestFirst(one, other) {
  return one.label.length - other.label.length || (one.label < other.label ? -1 : 1);
}

/** 0: begins with the first word, 1: a component does, 2: it is somewhere; null: a word is missing. */
function rankOf({ lower }, words) {
  if (!words.every((word) => lower.includes(word))) return null;
  if (!words.length || lower.startsWith(words[0])) return 0;
  return lower.includes(`.${words[0]}`) ? 1 : 2;
}

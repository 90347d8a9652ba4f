// The second view: what the server is doing now, from /status, asked again while somebody looks.

import { element } from "./elements.js";
import { ask } from "./requests.js";

const ASK_AGAIN_MILLISECONDS = 2000;
const NOTHING = "–";

const WORK = { states: "goals", premises: "new premises", corpus: "corpus building" };

const number = new Intl.NumberFormat("en");

export class Overview {
  /** `parts`: `news` and `cards`, elements of the page. */
  constructor(parts) {
    this.parts = parts;
    this.timer = null;
    this.isWatched = false;
    this.seenAt = null;
    document.addEventListener("visibilitychange", () => this.plan(0));
  }

  /** Ask again and again, or stop. */
  watch(isWatched) {
    this.isWatched = isWatched;
    this.plan(0);
  }

  plan(milliseconds) {
    clearTimeout(this.timer);
    if (this.isWatched && !document.hidden) this.timer = setTimeout(() => this.refresh(), milliseconds);
  }

  async refresh() {
    try {
      this.render((await ask("status")).content);
    } catch (error) {
      this.fail(error);
    }
    this.plan(ASK_AGAIN_MILLISECONDS);
  }

  render(status) {
    this.seenAt = new Date();
    this.say(status.ready ? "Ready." : `Not ready. ${(status.reasons ?? []).join(" ")}`);
    this.parts.cards.classList.remove("stale");
    this.parts.cards.replaceChildren(
      queueCard(status.queue, status.models),
      replicaCard(status.replica, status.redis),
      corpusCard(status.corpus),
      workersCard(status.workers ?? []),
      modelsCard(status.models),
    );
  }

  /** What was last seen stays, marked as old. */
  fail(error) {
    const seen = this.seenAt ? ` This is what it said at ${this.seenAt.toLocaleTimeString()}.` : "";
    this.say(`${error.message}${seen}`);
    this.parts.cards.classList.add("stale");
  }

  /** Said only when it is something else: screen readers speak it. */
  say(text) {
    if (this.parts.news.textContent !== text) this.parts.news.textContent = text;
  }
}

function card(title, ...content) {
  return element("section", { class: "card" }, element("h2", {}, title), ...content);
}

function wide(made) {
  made.classList.add("wide");
  return made;
}

function facts(pairs) {
  return element("dl", {}, ...pairs.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, shown(value))]));
}

function table(heads, rows, label = heads[0]) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...rest]) =>
    element("tr", {}, element("th", { scope: "row" }, shown(first)), ...rest.map((cell) => element("td", {}, shown(cell)))),
  );
  const made = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { class: "table", tabindex: "0", role: "group", "aria-label": label }, made);
}

/** The default model's queue, and below it that of each further model. */
function queueCard(queue, [first, ...further]) {
  if (!further.length) return card("Queue", ...queueOf(queue, first, queue ? heldAndDead(queue) : []));
  const made = card("Queue", modelName(first), ...queueOf(queue, first));
  for (const model of further) made.append(modelName(model), ...queueOf(model.queue, model));
  if (queue) made.append(element("h3", {}, "All models"), facts(heldAndDead(queue)));
  return made;
}

function modelName({ name }) {
  return element("h3", {}, name);
}

function queueOf(queue, model, more = []) {
  if (!queue) return [element("p", { class: "muted" }, "Not known: no worker, or Redis does not answer.")];
  const rows = Object.entries(queue.classes ?? {}).map(([name, { jobs, tokens, wait_seconds: wait }]) => [
    WORK[name] ?? name,
    jobs,
    tokens,
    seconds(wait),
  ]);
  return [
    table(["Work", "Jobs", "Tokens", "Wait"], rows, `Queue of ${model.name}`),
    facts([["waiting for a worker", jobs(queue.waiting_jobs)], ...more]),
  ];
}

function heldAndDead(queue) {
  return [
    ["held by workers", jobs(queue.held_jobs)],
    ["dead letters", queue.dead_letters],
  ];
}

function workersCard(workers) {
  return wide(card("Workers", workers.length ? workersTable(workers) : element("p", { class: "bad" }, "No worker is alive.")));
}

function workersTable(workers) {
  const heads = ["Worker", "State", "Model", "Device", "Kernel", "Tokens/s", "Jobs", "Waiting texts", "Embedded", "Failed", "Memory"];
  const rows = workers.map((worker) => [
    worker.worker_id,
    stateOf(worker),
    [worker.model, worker.model_revision, worker.pooling].filter(Boolean).join(", "),
    [worker.device, worker.dtype].filter(Boolean).join(", "),
    worker.kernel,
    worker.tokens_per_second,
    worker.held_jobs,
    worker.waiting_texts,
    worker.texts_embedded,
    worker.failed_texts,
    [bytes(worker.memory_bytes), worker.gpu_memory_bytes ? `GPU ${bytes(worker.gpu_memory_bytes)}` : null]
      .filter(Boolean)
      .join(", "),
  ]);
  return table(heads, rows);
}

function stateOf(worker) {
  if (worker.takes_jobs === false) return "drained";
  return worker.held_jobs ? "busy" : "idle";
}

function corpusCard(corpus) {
  if (!corpus) return card("Corpus", element("p", { class: "bad" }, "Not loaded yet."));
  return card(
    "Corpus",
    facts([
      ["revision", corpus.revision],
      ["premises", corpus.premises],
      ["modules", corpus.modules],
      ["digest", corpus.digest?.slice(0, 12)],
    ]),
  );
}

function modelsCard(models) {
  const rows = models.map((model) => [
    model.name,
    model.revision,
    model.pooling || "its own",
    model.live_workers,
    model.tokens_per_second,
    model.namespace?.slice(0, 12),
  ]);
  return wide(card("Models", table(["Model", "Revision", "Pooling", "Workers", "Tokens/s", "Namespace"], rows)));
}

function replicaCard(replica, redis) {
  const lookups = (replica?.cache_hits ?? 0) + (replica?.cache_misses ?? 0);
  return card(
    "Cache and API process",
    facts([
      ["cache hits", replica?.cache_hits],
      ["cache misses", replica?.cache_misses],
      ["hit rate", lookups ? `${((100 * replica.cache_hits) / lookups).toFixed(1)} %` : null],
      ["Redis", redis ? (redis.reachable ? "reachable" : "away") : null],
      ["awaited", jobs(replica?.awaited_jobs)],
      ["refused requests", replica?.refused_requests],
      ["up for", seconds(replica?.up_seconds)],
    ]),
  );
}

function shown(value) {
  if (typeof value === "number") return number.format(value);
  return value ? String(value) : NOTHING;
}

function jobs(count) {
  return typeof count === "number" ? `${number.format(count)} ${count === 1 ? "job" : "jobs"}` : null;
}

function bytes(count) {
  return count ? `${number.format(Math.round(count / 1e6))} MB` : null;
}

function seconds(count) {
  if (typeof count !== "number") return null;
  if (count < 60) return `${number.format(Math.round(count * 10) / 10)} s`;
  const minutes = Math.floor(count / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

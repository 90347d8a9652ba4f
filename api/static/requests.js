// Asks the server; every failure becomes one sentence.

/** A sentence for people, and after how many seconds the server wants to be asked again, if it said so. */
export class Problem extends Error {
  constructor(sentence, retryAfterSeconds = null) {
    super(sentence);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Relative to the page, so that a prefix stays; without the user and password that its address may hold. */
function address(path) {
  return new URL(path, location.origin + location.pathname);
}

/** The answer's JSON and its stage times; raises `Problem`, or an AbortError where `signal` says so. */
export async function ask(path, { body = undefined, signal = undefined } = {}) {
  const options = { signal, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await send(path, options);
  const content = await readJson(response);
  if (!response.ok) throw problemOf(response, content);
  if (content === undefined) throw new Problem("The server's answer cannot be read: something between may have changed it.");
  return { content, stages: readStages(response.headers.get("Server-Timing")) };
}

async function send(path, options) {
  try {
    return await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer: see whether it is running, then try again.");
  }
}

async function readJson(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return undefined;
  }
}

function problemOf(response, content) {
  const told = content?.detail;
  const sentence = typeof told === "string" ? told : `The server answered ${response.status} ${response.statusText}.`;
  const seconds = Number.parseInt(response.headers.get("Retry-After"), 10);
  return new Problem(sentence, Number.isNaN(seconds) ? null : seconds);
}

/** `[{name, milliseconds}]` of a Server-Timing header. */
export function readStages(header) {
  return (header ?? "").split(",").flatMap((part) => {
    const [name, ...parameters] = part.split(";").map((piece) => piece.trim());
    const duration = parameters.find((parameter) => parameter.startsWith("dur="));
    return name && duration ? [{ name, milliseconds: Number(duration.slice("dur=".length)) }] : [];
  });
}

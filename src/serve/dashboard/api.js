// Requests, and the keys that they may need: the one to read stays for this tab, the others are gone with the page.

import { $, say } from "./dom.js";

const STORED = "freshet.read-key";
const keys = { read: stored(), ingest: null, admin: null };
const TIMEOUT_MS = 30_000;

function stored() {
  try {
    return sessionStorage.getItem(STORED);
  } catch {
    return null;
  }
}

/** An answer that is an error. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `the server answers ${status}`);
    this.status = status;
    this.code = problem?.code ?? "";
  }

  /** Whether another key may help. */
  get forKey() {
    return this.status === 401 || this.code === "missing_scope";
  }
}

/** The header with the best key for a scope, if there is any. */
export function authorization(scope) {
  const key = { read: keys.read ?? keys.admin, ingest: keys.ingest ?? keys.admin ?? keys.read, admin: keys.admin ?? keys.read }[
    scope
  ];
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export const hasKey = () => Object.values(keys).some(Boolean);

export async function refusal(response) {
  let problem = null;
  try {
    problem = await response.json();
  } catch {
    /* No problem+json: the status is all there is. */
  }
  return new Refused(response.status, problem);
}

/** Asks, and asks the person for a key where the server wants one; `quiet` leaves the person alone. */
export async function request(path, { method = "GET", body, scope = "read", signal, quiet = false } = {}) {
  for (;;) {
    const headers = { Accept: "application/json", ...authorization(scope) };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const response = await fetch(path, {
      method,
      headers,
      cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ?? AbortSignal.timeout(TIMEOUT_MS),
    });
    if (response.ok) return response;
    const refused = await refusal(response);
    if (!refused.forKey) throw refused;
    // Another request may have been given a key meanwhile.
    if (authorization(scope).Authorization !== headers.Authorization) continue;
    if (quiet || !(await askKey(scope, refused))) throw refused;
  }
}

export const ask = async (path, options) => (await request(path, options)).json();

/** What went wrong, for people. */
export function told(error) {
  if (error instanceof Refused) return error.message;
  if (error?.name === "TimeoutError") return "the server did not answer in time";
  return error instanceof TypeError ? "the server does not answer" : String(error?.message ?? error);
}

const asking = new Map();
let last = Promise.resolve();

/** Shows the field for a key; resolves to whether one was given. Who waits for the same scope gets the same answer. */
export function askKey(scope, refused) {
  if (!asking.has(scope)) {
    last = last.then(() => field(scope, refused));
    asking.set(scope, last);
    void last.finally(() => asking.delete(scope));
  }
  return asking.get(scope);
}

function field(scope, refused) {
  const form = $("key-form"),
    input = $("key"),
    before = document.activeElement;
  say(
    "key-label",
    `${refused ? sentence(refused.message) : "A key is needed"} Key of scope ${scope === "admin" ? "admin" : `${scope} or admin`}:`,
  );
  form.hidden = false;
  input.focus();
  return new Promise(resolve => {
    const done = key => {
      form.hidden = true;
      form.onsubmit = $("key-cancel").onclick = form.onkeydown = null;
      input.value = "";
      before?.focus?.();
      resolve(key);
    };
    form.onsubmit = event => {
      event.preventDefault();
      keep(scope, input.value.trim());
      done(true);
    };
    $("key-cancel").onclick = () => done(false);
    form.onkeydown = event => event.key === "Escape" && done(false);
  });
}

function sentence(text) {
  const short = text.split(";")[0];
  return `${short.charAt(0).toUpperCase()}${short.slice(1)}.`;
}

function keep(scope, key) {
  keys[scope] = key || null;
  if (scope !== "read") return;
  try {
    sessionStorage.setItem(STORED, key);
  } catch {
    /* Storage is forbidden: it is asked for again. */
  }
}

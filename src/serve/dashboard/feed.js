// The live feed: read as it comes, and connected again when it breaks, when it falls silent, and when a tab wakes up.

import { askKey, authorization, refusal, Refused, told } from "./api.js";
import { readEvents } from "./sse.js";

const FIRST_WAIT_MS = 500,
  LONGEST_WAIT_MS = 15_000;
/** The server speaks each 5 seconds at the least. */
const SILENT_MS = 15_000;
/** A tab that wakes up after longer does not wait for what it missed. */
const STALE_MS = 10_000;
/** A tab that is looked at again sooner has missed nothing. */
const BEDTIME_MS = 30_000;

/** What the feed is doing: its `phase` is connecting, live, waiting, key or asleep. */
export const feed = { phase: "connecting", why: "", until: 0 };

let asleep = false,
  bedtime,
  current = null,
  wake = null,
  heard = { steady: 0, wall: 0 },
  take,
  changed;

const hear = () => {
  heard = { steady: performance.now(), wall: Date.now() };
};

function become(phase, why = "", until = 0) {
  Object.assign(feed, { phase, why, until });
  changed();
}

/** Begins to read; `onMessage` gets the name and the object of each event, `onChange` is called as the phase changes. */
export function follow(onMessage, onChange) {
  take = onMessage;
  changed = onChange;
  document.addEventListener("visibilitychange", seenOrNot);
  addEventListener("pageshow", event => {
    if (event.persisted) again();
  });
  addEventListener("online", again);
  setInterval(() => {
    if (!["live", "connecting"].includes(feed.phase) || document.hidden || performance.now() - heard.steady <= SILENT_MS) return;
    // What is shown is as old as the silence: a server that hangs takes a connection and says nothing on it.
    if (feed.phase === "live") become("connecting");
    again();
  }, 2000);
  void run();
}

/** A browser has few connections for a server: a tab that nobody looks at gives its own back. */
function seenOrNot() {
  clearTimeout(bedtime);
  if (document.hidden)
    bedtime = setTimeout(() => {
      asleep = true;
      again();
    }, BEDTIME_MS);
  else {
    asleep = false;
    if (feed.phase === "asleep" || stale()) again();
  }
}

/** Either clock may have stood still while the machine slept. */
function stale() {
  return Math.max(performance.now() - heard.steady, Math.abs(Date.now() - heard.wall)) > STALE_MS;
}

/** Drops the connection, with what is in flight, or the wait for one, and connects at once. */
export function again() {
  current?.abort(new DOMException("connected again", "AbortError"));
  wake?.();
}

async function run() {
  let failures = 0;
  for (;;) {
    if (asleep) {
      become("asleep");
      await sleep(null);
      continue;
    }
    if (feed.phase !== "live") become("connecting");
    current = new AbortController();
    hear();
    const { signal } = current;
    let pause = null,
      why = "the stream ended";
    try {
      const response = await fetch("/live", {
        headers: { Accept: "text/event-stream", ...authorization("read") },
        cache: "no-store",
        signal,
      });
      if (!response.ok) throw await refusal(response);
      hear();
      await readEvents(
        response,
        (kind, data) => {
          if (signal.aborted) return;
          failures = 0;
          const message = JSON.parse(data);
          if (kind === "reconnect") [pause, why] = [message.after_ms, message.reason];
          else {
            if (feed.phase !== "live") become("live");
            take(kind, message);
          }
        },
        hear,
      );
    } catch (error) {
      if (error instanceof Refused && error.forKey) {
        become("key", error.message);
        if (await askKey("read", error)) continue;
        await sleep(null);
        continue;
      }
      why = told(error);
    }
    current.abort();
    if (signal.reason?.message === "connected again") continue;
    const backoff = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(failures, 10)) * (0.75 + Math.random() / 2);
    failures += 1;
    const wait = Math.max(0, pause ?? backoff);
    become("waiting", why, performance.now() + wait);
    await sleep(wait);
  }
}

/** Waits, for ever if it is not said how long, or until somebody wants to connect again. */
function sleep(ms) {
  return new Promise(resolve => {
    const timer = ms === null ? null : setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      wake = null;
      resolve();
    }
    wake = done;
  });
}

// What the feed has said last, as the panels draw it: at most once a frame, and not at all while the tab is hidden.

/** Events that are kept. */
const MOST_EVENTS = 200;

export const store = {
  hello: null,
  now: null,
  learning: null,
  /** The newest first. */
  events: [],
  rates: [],
  placed: 0,
  unplaced: 0,
  skipped: 0,
};

let received = 0,
  dirty = new Set(),
  asked = false;
const drawers = [];

/** Calls `draw` when one of these kinds of message has come. */
export function onNews(kinds, draw) {
  drawers.push({ kinds, draw });
}

/** Takes a message up. */
export function take(kind, message) {
  if (kind === "hello") restarted(message);
  else if (kind === "now") {
    if (store.now && message.seq < store.now.seq) forget();
    store.now = message;
    received = performance.now();
    store.rates = [...store.rates, message.events_per_s ?? 0].slice(-120);
  } else if (kind === "learning") store.learning = message;
  else if (kind === "events") addEvents(message);
  else return;
  news(kind);
}

/** Another run of the engine may have gone back behind what was shown. */
function restarted(hello) {
  if (store.hello && store.hello.started_at_ms !== hello.started_at_ms) forget();
  store.hello = hello;
}

function forget() {
  Object.assign(store, { events: [], rates: [], placed: 0, unplaced: 0, skipped: 0 });
  news("events");
}

function addEvents({ events = [], skipped = 0 }) {
  const newest = store.events[0]?.seq ?? 0;
  // An engine that has begun anew counts from the beginning again.
  if (events.length && Math.max(...events.map(event => event.seq)) < newest) forget();
  const have = new Set(store.events.map(event => event.seq));
  const fresh = events.filter(event => !have.has(event.seq)).map(event => ({ ...event, came: performance.now() }));
  store.skipped += skipped;
  store.placed += fresh.filter(event => event.place).length;
  store.unplaced += fresh.filter(event => !event.place).length;
  store.events = [...fresh, ...store.events].sort((a, b) => b.seq - a.seq).slice(0, MOST_EVENTS);
}

export function news(kind) {
  dirty.add(kind);
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const kinds = dirty;
    dirty = new Set();
    for (const { draw } of drawers.filter(one => one.kinds.some(kind => kinds.has(kind)))) {
      try {
        draw();
      } catch (error) {
        console.error(error);
      }
    }
  });
}

/** The server's clock now: its last word and what has passed since, whatever the clock of this machine says. */
export const serverNow = () => (store.now ? store.now.at_ms + performance.now() - received : null);

/** Time since the last figures came. */
export const silence = () => (received ? performance.now() - received : null);

/** Whether events are listens and the like, that nobody rates. */
export function counted() {
  if (store.hello && !store.hello.scale) return true;
  return store.events.length > 0 && store.events.every(event => event.rating === null || event.rating === undefined);
}

export const scale = () => ({ low: 1, high: 5, positive: 4, ...store.hello?.scale });

/** Why nothing may be changed, if so. */
export function unchangeable() {
  if (store.hello?.read_only) return "This server is read-only: events are sent to one that learns.";
  return store.hello && !store.hello.changes ? "This server takes no events: send them to one that learns." : null;
}

// freshet.track(user, item, rating?, more?) queues an event; freshet.flush() sends at once and resolves with a token:
// GET /recommend/{user}?token=… waits for what was sent. An ingest key goes into data-key of the script's tag.
(() => {
  "use strict";
  const me = document.currentScript, key = me.dataset.key;
  const url = new URL("events", me.src).href;
  const wait = 250, batch = 20, most = 1000, longest = 60000;
  const run = Math.random().toString(36).slice(2) + Date.now().toString(36);
  const reached = {};
  let queue = [], count = 0, timer = 0, pause = 0, sending = null;

  const lines = (events) => events.map((event) => JSON.stringify(event)).join("\n");

  // One token for all that was sent: the furthest of each partition.
  const reach = (token) => {
    for (const [, partition, next] of token.matchAll(/(\d+):(\d+)/g)) reached[partition] = next;
  };

  const later = (ms) => {
    if (!timer) timer = setTimeout(() => { timer = 0; flush().catch(() => {}); }, ms);
  };

  // Only fetch tells whether it arrived; sent again, the id keeps it from counting twice.
  const send = async () => {
    while (queue.length) {
      const events = queue.slice(0, batch);
      const headers = { "Content-Type": "text/plain" };
      if (key) headers.Authorization = "Bearer " + key;
      let answer;
      try {
        answer = await fetch(url, { method: "POST", body: lines(events), headers, keepalive: true });
        if (answer.status >= 500 || answer.status === 429) throw new Error("status " + answer.status);
      } catch (error) {
        pause = Math.min(pause * 2 || 500, longest);
        clearTimeout(timer);
        timer = 0;
        later(pause * (0.5 + Math.random() / 2));
        throw error;
      }
      pause = 0;
      const sent = new Set(events);
      queue = queue.filter((event) => !sent.has(event));
      if (answer.ok) reach((await answer.json()).token);
      else console.warn("Freshet has refused events:", await answer.text());
    }
    return Object.entries(reached).map((one) => one.join(":")).join(".") || null;
  };

  const flush = () => {
    clearTimeout(timer);
    timer = 0;
    return sending ||= send().finally(() => { sending = null; });
  };

  const track = (user, item, rating, more) => {
    const event = { user: String(user), item: String(item), id: run + ++count, ...more };
    if (rating != null) event.rating = rating;
    queue.push(event);
    if (queue.length > most) queue.shift();
    if (queue.length >= batch && !pause) flush().catch(() => {});
    else later(Math.max(wait, pause));
  };

  // A beacon outlives the page, but cannot carry a key.
  const leave = () => {
    if (!queue.length) return;
    if (!key && navigator.sendBeacon && navigator.sendBeacon(url, lines(queue))) queue = [];
    else flush().catch(() => {});
  };

  addEventListener("pagehide", leave);
  addEventListener("visibilitychange", () => { if (document.hidden) leave(); });
  addEventListener("online", () => { pause = 0; flush().catch(() => {}); });
  window.freshet = { track, flush };
})();

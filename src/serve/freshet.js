// Freshet: sends what visitors do. <script src="https://freshet.example/freshet.js" data-key="…"></script>
// freshet.track(user, item, rating?, more?) queues an event; freshet.flush() sends at once and resolves with the token
// that makes reading wait for what was sent: GET /recommend/{user}?token=…
(() => {
  "use strict";
  const me = document.currentScript, key = me.dataset.key;
  const url = new URL("events", me.src).href;
  const wait = 250, batch = 20, most = 1000, longest = 60000;
  const run = Math.random().toString(36).slice(2) + Date.now().toString(36);
  let queue = [], count = 0, timer = 0, pause = 0, sending = null, token = null;

  const lines = (events) => events.map((event) => JSON.stringify(event) + "\n").join("");

  const later = (ms) => {
    if (!timer) timer = setTimeout(() => { timer = 0; flush().catch(() => {}); }, ms);
  };

  // Only fetch tells whether it arrived, so that it is sent again if not. The id keeps it from counting twice.
  const send = async () => {
    while (queue.length) {
      const events = queue.slice(0, batch);
      const headers = { "Content-Type": "text/plain" };
      if (key) headers.Authorization = "Bearer " + key;
      let answer;
      try {
        answer = await fetch(url, { method: "POST", body: lines(events), headers, keepalive: true });
        if (answer.status >= 500 || answer.status === 429) throw new Error("Freshet answers " + answer.status);
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
      if (answer.ok) token = (await answer.json()).token;
      else console.warn("Freshet has refused events:", await answer.text());
    }
    return token;
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

  // The page may be gone before an answer comes. A beacon outlives it, but cannot carry a key.
  const leave = () => {
    if (!queue.length) return;
    if (!key && navigator.sendBeacon && navigator.sendBeacon(url, lines(queue))) queue = [];
    else flush().catch(() => {});
  };

  addEventListener("pagehide", leave);
  addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") leave(); });
  addEventListener("online", () => { pause = 0; flush().catch(() => {}); });
  window.freshet = { track, flush };
})();

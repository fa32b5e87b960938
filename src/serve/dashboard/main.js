// The page: reads the feed, and says how that goes. Each panel is a module of its own.

import { $, el, panel, say } from "./dom.js";
import { again, feed, follow } from "./feed.js";
import { span, words } from "./format.js";
import { onNews, serverNow, silence, store, take } from "./store.js";
import "./theme-toggle.js";
import "./replay.js";
import "./stream.js";
import "./learning.js";
import "./predicted.js";
import "./map.js";
import "./user.js";
import "./model.js";
import "./faults.js";

const LIVE_PANELS = ["stream", "learning", "predicted", "map"];

function phase() {
  if (feed.phase !== "live")
    return { connecting: "Connecting…", waiting: "Disconnected", key: "Needs a key", asleep: "Asleep" }[feed.phase];
  const { now } = store;
  if (!now) return "Connected";
  if (now.phase === "running" && now.troubles?.length)
    return `Running, ${now.troubles.map(one => one.part).join(" and ")} in trouble`;
  return `${now.phase.charAt(0).toUpperCase()}${words(now.phase.slice(1))}`;
}

function detail() {
  if (feed.phase === "waiting") {
    const left = Math.ceil(Math.max(0, feed.until - performance.now()) / 1000),
      old = silence();
    return `${feed.why}; trying again ${left ? `in ${left} s` : "now"}${old === null ? "" : `, figures are ${span(old)} old`}`;
  }
  if (feed.phase === "key") return feed.why.split(";")[0];
  const at = store.now?.published_at_ms,
    now = serverNow();
  return feed.phase === "live" && at && now ? `model published ${span(now - at)} ago` : "";
}

function showState() {
  say("state", phase());
  const trouble = store.now && (store.now.phase === "failed" || store.now.troubles?.length);
  $("state").dataset.feed = feed.phase === "live" && trouble ? "trouble" : feed.phase;
  showDetail();
}

function showDetail() {
  const text = detail(),
    node = $("state-detail");
  say(node, text);
  node.title = text;
  const retry = $("retry");
  if (feed.phase === "waiting" || feed.phase === "key") {
    if (!retry)
      node.after(
        el(
          "button",
          { type: "button", id: "retry", class: "quiet", click: again },
          feed.phase === "key" ? "Give a key" : "Connect now",
        ),
      );
  } else retry?.remove();
}

function onChange() {
  showState();
  if (feed.phase === "waiting" || feed.phase === "key") {
    const notice =
      feed.phase === "key" ? "The server asks for a key." : "Disconnected; connects again by itself. What is shown is not new.";
    for (const id of LIVE_PANELS) if ($(id).dataset.state !== "error") panel(id, "error", notice);
  } else if (feed.phase === "live") {
    for (const id of LIVE_PANELS) if ($(id).dataset.state === "error") panel(id, "loading");
  }
}

// What is scrolled to comes to stand below the header, however high that is.
new ResizeObserver(([header]) => document.documentElement.style.setProperty("--top", `${header.target.offsetHeight}px`)).observe(
  document.querySelector("header"),
);

onNews(["hello", "now"], showState);
onNews(["hello"], () => {
  $("read-only").hidden = !store.hello.read_only;
  say("version", `Freshet ${store.hello.version ?? ""}, model ${store.hello.name ?? ""}`);
});
setInterval(() => {
  if (!document.hidden) showDetail();
}, 1000);
follow(take, onChange);

// Panel 1: how events come in, and how long it takes until they are learned, published and durable.

import { chart } from "./charts.js";
import { $, el, escaped, panel, say } from "./dom.js";
import { bytes, clock, known, plural, rate, span, whole, words } from "./format.js";
import { onNews, serverNow, store } from "./store.js";

const batches = chart("batches", (colour, axis) => {
  const list = store.now?.batches ?? [];
  if (!list.length) return null;
  const number = list.map(batch => batch.number);
  const bar = (name, field, color) => ({
    type: "bar",
    name,
    x: number,
    y: list.map(batch => batch[field]),
    marker: { color, line: { width: 0 } },
    hovertemplate: "%{y:.1f} ms",
  });
  const about = list.map(batch =>
    escaped(
      `${plural(batch.events, "event")}${batch.rejects ? `, ${plural(batch.rejects, "reject")}` : ""}, ${clock(batch.at_ms)}`,
    ),
  );
  return {
    traces: [
      bar("learn", "learn_ms", colour.blue),
      bar("publish", "publish_ms", colour.amber),
      bar("persist", "persist_ms", colour.green),
      {
        type: "scatter",
        mode: "lines",
        name: "events",
        x: number,
        y: list.map(batch => batch.events),
        yaxis: "y2",
        text: about,
        hovertemplate: "%{text}",
        line: { color: colour.muted, width: 1.5, shape: "hvh", dash: "dot" },
      },
    ],
    layout: {
      barmode: "stack",
      bargap: 0.15,
      margin: { l: 44, r: 44, t: 8, b: 36 },
      xaxis: { name: "batch", tickformat: ",d", nticks: 6, showgrid: false },
      yaxis: { name: "ms", rangemode: "tozero" },
      yaxis2: axis(colour, {
        name: "events",
        overlaying: "y",
        side: "right",
        rangemode: "tozero",
        showgrid: false,
        tickformat: ",d",
      }),
    },
  };
});

function part(id, name, trouble, fine) {
  const node = $(id),
    state = trouble ? "trouble" : "fine",
    now = serverNow();
  const text = trouble
    ? `${trouble.reason ?? "in trouble"}${trouble.since_ms ? `, for ${span(now - trouble.since_ms)}` : ""}`
    : fine;
  if (node.dataset.part !== state) {
    node.dataset.part = state;
    node.replaceChildren(
      el("span", { class: "sign", "aria-hidden": "true" }, trouble ? "▲" : "●"),
      el("strong", null, name),
      el("span", null),
    );
  }
  say(node.lastChild, text);
}

function parts(now) {
  const of = name => now.troubles?.find(trouble => trouble.part === name);
  const bad = ["failed", "stopping"].includes(now.phase);
  // A server learns nothing: it answers from what its trainer has learned.
  const running = store.hello?.role === "server" ? "following" : "learning";
  part("part-engine", "Engine", bad ? { reason: now.phase } : null, now.phase === "running" ? running : now.phase);
  part("part-log", "Log (Kafka or embedded)", of("log"), "answers");
  part("part-store", "Store (MongoDB or embedded)", of("store"), "answers");
}

function rejects(counts) {
  const entries = Object.entries(counts ?? {})
    .filter(([, count]) => count > 0)
    .sort((a, b) => b[1] - a[1]);
  const most = entries[0]?.[1] ?? 1,
    list = $("rejects"),
    key = JSON.stringify(entries);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  if (!entries.length) return void list.replaceChildren(el("li", { class: "muted" }, "None: every event could be read."));
  list.replaceChildren(
    ...entries.map(([reason, count]) => {
      const fill = el("span", { class: "fill", "aria-hidden": "true" });
      fill.style.width = `${Math.max(1, (count / most) * 100)}%`;
      return el("li", null, fill, el("span", null, words(reason)), el("span", { class: "number" }, whole(count)));
    }),
  );
}

function lag(list) {
  const seconds = list.map(one => one.seconds).filter(known);
  say("lag-messages", whole(list.reduce((sum, one) => sum + Math.max(0, one.messages), 0)));
  say("lag-seconds", seconds.length ? span(Math.max(...seconds) * 1000) : "–");
  $("lag-table").replaceChildren(
    ...list
      .slice(0, 200)
      .map(one =>
        el(
          "tr",
          null,
          el("td", null, `${one.topic} ${one.partition}`),
          el("td", { class: "number" }, whole(one.messages)),
          el("td", { class: "number" }, known(one.seconds) ? span(one.seconds * 1000) : "–"),
          el("td", null, words(one.state ?? "")),
        ),
      ),
  );
}

function rateLine() {
  const most = Math.max(1, ...store.rates),
    from = 120 - store.rates.length;
  const points = store.rates.map((value, at) => `${from + at},${(23 - (value / most) * 22).toFixed(1)}`);
  $("rate-line").firstElementChild.setAttribute("points", points.join(" "));
}

function newest(batch) {
  if (!batch) return "";
  const parts = [
    ["waited", batch.wait_ms],
    ["learned in", batch.learn_ms],
    ["published in", batch.publish_ms],
    ["persisted in", batch.persist_ms],
  ];
  const told = parts
    .filter(([, ms]) => known(ms))
    .map(([name, ms]) => `${name} ${span(ms)}`)
    .join(", ");
  return `Batch ${whole(batch.number)}: ${plural(batch.events, "event")}${told ? `, ${told}` : ""}.`;
}

onNews(["now"], () => {
  const { now } = store;
  say("events-per-second", rate(now.events_per_s));
  say("total-events", whole(now.seq));
  say("durable-events", whole(now.durable_seq));
  say("freshness-p50", span(now.freshness?.p50_ms));
  say("freshness-p99", span(now.freshness?.p99_ms));
  say("total-users", whole(now.users));
  say("total-items", whole(now.items));
  say("total-rejects", whole(Object.values(now.rejects ?? {}).reduce((sum, count) => sum + count, 0)));
  say("memory", bytes(now.memory_bytes));
  say("streams", plural(now.streams ?? 0, "page"));
  say("batch-newest", newest(now.batches?.at(-1)));
  lag(now.lag ?? []);
  rejects(now.rejects);
  parts(now);
  rateLine();
  batches.touch();
  if (now.phase === "failed") panel("stream", "error", "The engine has stopped; the newest warning below says why.");
  else if (now.seq) panel("stream", "live");
  else panel("stream", "empty", "No event has come yet: send one to POST /events, or replay a data set into the log.");
});

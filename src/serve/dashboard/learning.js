// Panel 2: how good the predictions and the lists are, each beside plain baselines that see the same events.

import { chart } from "./charts.js";
import { $, panel, say } from "./dom.js";
import { clock, decimal, known, percent, plural, whole } from "./format.js";
import { counted, onNews, store } from "./store.js";

const CURVES = {
  mae: {
    name: "MAE",
    lines: [
      ["model", "mae"],
      ["running mean", "mean_mae"],
    ],
  },
  rmse: {
    name: "RMSE",
    lines: [
      ["model", "rmse"],
      ["running mean", "mean_rmse"],
    ],
  },
  hr: {
    name: "HR@10",
    lines: [
      ["model", "hr"],
      ["popular", "popular_hr"],
      ["trending", "trending_hr"],
    ],
  },
  ndcg: {
    name: "NDCG@10",
    lines: [
      ["model", "ndcg"],
      ["popular", "popular_ndcg"],
      ["trending", "trending_ndcg"],
    ],
  },
};

/** Whether somebody has chosen what the curve shows. */
let picked = false;

/** Marks of one kind as upright lines over the whole height. */
function marks(kind, symbol, color) {
  const found = (store.learning.marks ?? []).filter(mark => mark.kind === kind);
  if (!found.length) return [];
  return [
    {
      type: "scatter",
      mode: "lines+markers",
      name: kind,
      yaxis: "y2",
      x: found.flatMap(mark => [mark.seq, mark.seq, null]),
      y: found.flatMap(() => [0, 1, null]),
      text: found.flatMap(mark => [clock(mark.at_ms), clock(mark.at_ms), ""]),
      hovertemplate: "%{text}",
      line: { color, width: kind === "drift" ? 2 : 1, dash: "dot" },
      marker: { color, symbol: found.flatMap(() => ["line-ns", symbol, symbol]), size: 9 },
    },
  ];
}

const curve = chart("curve", (colour, axis) => {
  const points = store.learning?.curve ?? [],
    { name, lines } = CURVES[$("curve-metric").value];
  if (!points.length) return null;
  const styles = [
    [colour.blue, "solid", 2.5],
    [colour.orange, "dash", 1.75],
    [colour.green, "dashdot", 1.75],
  ];
  const traces = lines
    .map(([label, field], at) => ({
      type: "scatter",
      mode: points.length < 3 ? "lines+markers" : "lines",
      name: label,
      x: points.map(point => point.seq),
      y: points.map(point => point[field] ?? null),
      line: { color: styles[at][0], dash: styles[at][1], width: styles[at][2] },
      hovertemplate: "%{y:.4f}",
    }))
    .filter(trace => trace.y.some(known));
  if (!traces.length) return null;
  return {
    traces: [...traces, ...marks("snapshot", "triangle-down", colour.grey), ...marks("drift", "x", colour.purple)],
    layout: {
      xaxis: { name: "events learned", tickformat: ",d", showgrid: false },
      yaxis: { name, rangemode: name.includes("@") ? "tozero" : "normal" },
      yaxis2: axis(colour, { overlaying: "y", range: [0, 1], visible: false }),
    },
  };
});

const range = ({ from, to }) => (to === from ? `${from}` : to === null ? `${from}+` : `${from}–${to}`);

const nth = chart("nth", colour => {
  const buckets = (store.learning?.nth ?? []).filter(bucket => bucket.events > 0 && known(bucket.mae));
  if (!buckets.length) return null;
  const x = buckets.map(range),
    events = buckets.map(bucket => plural(bucket.events, "event"));
  const line = (name, field, color, dash, symbol) => ({
    type: "scatter",
    mode: "lines+markers",
    name,
    x,
    y: buckets.map(bucket => bucket[field]),
    text: events,
    hovertemplate: "%{y:.4f} (%{text})",
    line: { color, dash, width: 2 },
    marker: { color, symbol, size: 8 },
  });
  return {
    traces: [
      line("model", "mae", colour.blue, "solid", "circle"),
      line("running mean", "mean_mae", colour.orange, "dash", "diamond"),
    ],
    layout: { xaxis: { name: "n-th event", type: "category", showgrid: false }, yaxis: { name: "MAE" } },
  };
});

const histogram = chart("histogram", colour => {
  const { values = [], actual = [], predicted = [] } = store.learning?.histogram ?? {};
  if (!values.length || !actual.some(Boolean)) return null;
  return {
    traces: [
      { type: "bar", name: "rated", x: values, y: actual, marker: { color: colour.amber }, hovertemplate: "%{y:,}" },
      {
        type: "scatter",
        mode: "lines+markers",
        name: "predicted",
        x: values,
        y: predicted,
        line: { color: colour.blue, width: 2 },
        marker: { color: colour.blue, size: 7 },
        hovertemplate: "%{y:,}",
      },
    ],
    layout: { bargap: 0.25, xaxis: { name: "stars", showgrid: false, nticks: 9 }, yaxis: { name: "events", tickformat: "~s" } },
  };
});

/** How much better than the best baseline; `lower` says whether less is better. */
function gain(id, value, others, lower) {
  const best = others.filter(known).sort((a, b) => (lower ? a - b : b - a))[0];
  const share = known(value) && best > 0 ? (lower ? best - value : value - best) / best : null;
  const node = $(id);
  node.dataset.sign = share === null ? "" : share > 0 ? "better" : "worse";
  if (share === null) return say(node, "");
  const arrow = share > 0 === lower ? "▼" : "▲";
  say(node, share >= 2 ? `${arrow} ${decimal(share + 1, 1)} times` : `${arrow} ${percent(Math.abs(share))} ${node.dataset.sign}`);
}

function errors({ mae, rmse, mean_mae: meanMae, mean_rmse: meanRmse } = {}) {
  say("mae", decimal(mae));
  say("mae-mean", decimal(meanMae));
  say("rmse", decimal(rmse));
  say("rmse-mean", decimal(meanRmse));
  gain("mae-gain", mae, [meanMae], true);
  gain("rmse-gain", rmse, [meanRmse], true);
}

function ranking({ model, popular, trending } = {}) {
  for (const name of ["hr", "ndcg"]) {
    say(name, decimal(model?.[name]));
    say(`${name}-popular`, decimal(popular?.[name]));
    say(`${name}-trending`, decimal(trending?.[name]));
    gain(`${name}-gain`, model?.[name], [popular?.[name], trending?.[name]], false);
  }
}

function drift() {
  const told = store.now?.drift;
  if (!told) return;
  const found = told.detected
    ? `Drift was detected ${plural(told.detected, "time")}, last at event ${whole(told.last_seq)}`
    : "No drift was detected";
  say("drift", told.enabled ? `${found}${told.boosted ? "; the learning rate is raised" : ""}.` : "Drift is not looked for.");
}

function show() {
  const { learning } = store;
  if (!learning) return;
  const over = $("span-all").checked ? "all" : "window",
    errorsOver = learning[over] ?? {},
    ranked = learning.ranking?.[over];
  // Where nothing was judged, as on a server, there is nothing to tell.
  errors(errorsOver.events ? errorsOver : {});
  ranking(ranked?.ranked ? ranked : {});
  const listens = counted() && !errorsOver.events,
    lists = whole(ranked?.ranked ?? 0);
  say(
    "span-about",
    listens
      ? `Each event is foreseen before it is learned: lists over ${lists} events. Nobody rates here, so that there are no errors to tell.`
      : `Each event is predicted before it is learned: errors over ${plural(errorsOver.events ?? 0, "event")}, lists over ${lists} of those.`,
  );
  if (listens && !picked) $("curve-metric").value = "hr";
  [curve, nth, histogram].forEach(one => one.touch());
  if (learning.all?.events || learning.ranking?.all?.ranked) panel("learning", "live");
  else panel("learning", "empty", "Nothing was learned yet.");
}

for (const id of ["span-window", "span-all"]) $(id).addEventListener("change", show);
$("curve-metric").addEventListener("change", () => {
  const { name } = CURVES[$("curve-metric").value];
  $("curve").setAttribute("aria-label", `${name} of the model and of its baselines over the stream`);
  picked = true;
  curve.drawn = -Infinity;
  curve.touch();
});
onNews(["learning"], show);
onNews(["now"], drift);

// Panel 3: each of the latest events beside what was predicted for it, and how often a liking was foreseen.

import { $, el, panel, say } from "./dom.js";
import { clock, date, day, decimal, known, named, percent, whole } from "./format.js";
import { counted, onNews, scale, store } from "./store.js";

const SHOWN = 20,
  MARKED = 4;
const OUTCOMES = {
  tp: ["✓", "TP", "liked, as predicted"],
  fp: ["✗", "FP", "predicted as liked, and was not"],
  fn: ["○", "FN", "liked, and not predicted"],
  tn: ["–", "TN", "not liked, as predicted"],
};
const rows = new Map();
let touched = false;

const threshold = () => Number($("threshold").value);

const outcome = (predicted, actual, from) =>
  `${predicted >= from === actual >= from ? "t" : "f"}${predicted >= from ? "p" : "n"}`;

function judge(cell, event) {
  const judged = known(event.predicted) && known(event.rating) ? outcome(event.predicted, event.rating, threshold()) : "";
  if (cell.dataset.outcome === judged) return;
  cell.dataset.outcome = judged;
  const [sign, name, meaning] = OUTCOMES[judged] ?? ["", "–", "has no rating"];
  cell.replaceChildren(el("span", { class: "sign", "aria-hidden": "true" }, sign), el("abbr", { title: meaning }, name));
}

/** An event out of a data set tells its day, one of today its time. */
const when = ({ ts, at_ms: at }) => (known(ts) && Math.abs(at - ts) > 86_400_000 ? day(ts) : clock(ts ?? at));

function row(event, fresh) {
  const judged = el("td", { class: "outcome" });
  const made = el(
    "tr",
    { "data-seq": event.seq, class: fresh ? "fresh" : null },
    el("td", { class: "when quiet", title: date(event.ts ?? event.at_ms) }, when(event)),
    el("td", { class: "id" }, event.user),
    el("td", { class: "title" }, named(event)),
    el("td", { class: "number" }, decimal(known(event.rating) ? event.predicted : null, 2)),
    el("td", { class: "number" }, known(event.rating) ? String(event.rating) : known(event.count) ? whole(event.count) : "–"),
    judged,
  );
  judge(judged, event);
  return made;
}

function showRows() {
  const newest = store.events.slice(0, SHOWN),
    body = $("events"),
    wanted = new Set(newest.map(event => event.seq));
  for (const [seq, old] of rows) {
    if (wanted.has(seq)) continue;
    old.remove();
    rows.delete(seq);
  }
  // Where all is new nothing is marked as new.
  const few = newest.filter(event => !rows.has(event.seq)).length <= MARKED;
  newest.forEach((event, at) => {
    if (!rows.has(event.seq)) rows.set(event.seq, row(event, few));
    const one = rows.get(event.seq);
    if (body.children[at] !== one) body.insertBefore(one, body.children[at] ?? null);
    judge(one.lastChild, event);
  });
}

/** Counts of the four outcomes at a threshold, from the counts of predicted and actual by bin. */
export function counts(joint, from) {
  const sums = { tp: 0, fp: 0, fn: 0, tn: 0 },
    close = 1e-6;
  joint.counts.forEach((columns, row) => {
    const predicted = joint.predicted_low + row * joint.predicted_step + close;
    columns.forEach((count, column) => {
      sums[outcome(predicted, joint.actual_low + column * joint.actual_step + close, from)] += count;
    });
  });
  return sums;
}

function showCounts() {
  const from = threshold(),
    joint = store.learning?.joint;
  say("threshold-value", from.toFixed(1));
  if (!joint?.counts) return;
  const { tp, fp, fn, tn } = counts(joint, from);
  for (const [id, count] of Object.entries({ tp, fp, fn, tn })) say(id, whole(count));
  say("precision", percent(tp + fp ? tp / (tp + fp) : null));
  say("recall", percent(tp + fn ? tp / (tp + fn) : null));
}

function showScale() {
  const { low, high, positive } = scale(),
    slider = $("threshold");
  Object.assign(slider, { min: low, max: high, step: high - low > 10 ? (high - low) / 100 : 0.1 });
  if (!touched) slider.value = positive;
  showCounts();
}

function show() {
  const listens = counted();
  say("actual-head", listens ? "Count" : "Actual");
  $("outcomes").hidden = $("threshold").parentNode.hidden = listens;
  showRows();
  if (store.events.length)
    panel("predicted", "live", listens ? "These events are counted and not rated: there is no liking to foresee." : "");
  else panel("predicted", "empty", "The next event will be shown here, with what was predicted for it.");
}

$("threshold").addEventListener("input", () => {
  touched = true;
  showCounts();
  showRows();
});
onNews(["hello"], showScale);
onNews(["learning"], showCounts);
onNews(["hello", "events"], show);

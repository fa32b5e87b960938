// Panel 6: what the model is, what was kept of it, and how its items lie to each other.

import { ask, told } from "./api.js";
import { chart } from "./charts.js";
import { $, el, escaped, panel, say, whenSeen } from "./dom.js";
import { named, percent, plural, whole, bytes } from "./format.js";
import { onNews, store } from "./store.js";
import { loadSnapshots } from "./snapshots.js";

const POINTS = 1000,
  GENRES = 7;
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star", "triangle-down", "circle-open"];
let map = null,
  seen = false;

const pairs = entries => entries.flatMap(([name, value]) => [el("div", null, el("dt", null, name), el("dd", null, value))]);

export const written = value => (typeof value === "object" && value !== null ? JSON.stringify(value) : String(value));

async function loadModel() {
  try {
    const model = await ask("/model");
    const { snapshot } = model;
    $("model-facts").replaceChildren(
      ...pairs([
        ["Name", model.name],
        ["Learned up to event", whole(model.seq)],
        ["Micro-batch", whole(model.batch)],
        ["Users", whole(model.users)],
        ["Items", whole(model.items)],
        ["Memory", bytes(store.now?.memory_bytes)],
        ["Newest snapshot", snapshot ? `event ${whole(snapshot.seq)}` : "none yet"],
        ["SHA-256", el("code", null, snapshot?.sha256 ?? "–")],
      ]),
    );
    $("params").replaceChildren(...pairs(Object.entries(model.params).map(([name, value]) => [name, written(value)])));
    panel("model", "live");
  } catch (error) {
    panel("model", "error", `The model could not be asked: ${told(error)}.`);
  }
}

/** The genres that most of the items have; an item counts for the first of its own that is among them. */
function byGenre(items) {
  const count = new Map();
  for (const item of items) for (const genre of item.genres) count.set(genre, (count.get(genre) ?? 0) + 1);
  const most = [...count]
    .sort((a, b) => b[1] - a[1])
    .slice(0, GENRES)
    .map(([genre]) => genre);
  const rare = [...most].reverse(),
    groups = new Map([...most, "other"].map(genre => [genre, []]));
  for (const item of items) groups.get(rare.find(genre => item.genres.includes(genre)) ?? "other").push(item);
  return [...groups].filter(([, members]) => members.length);
}

const factors = chart("factor-map", colour => {
  if (!map?.items.length) return null;
  const palette = [colour.blue, colour.orange, colour.green, colour.purple, colour.amber, colour.sky, colour.yellow, colour.grey];
  const size = item => 5 + Math.min(9, Math.log10(1 + item.events) * 3);
  const traces = byGenre(map.items).map(([genre, items], at) => ({
    type: "scatter",
    mode: "markers",
    name: escaped(genre),
    x: items.map(item => item.x),
    y: items.map(item => item.y),
    marker: {
      color: palette[genre === "other" ? 7 : at],
      symbol: SYMBOLS[genre === "other" ? 7 : at],
      size: items.map(size),
      opacity: 0.8,
      line: { width: 0.5, color: colour.card },
    },
    text: items.map(item => escaped(`${named(item)}, ${item.genres.join(", ") || "no genre"}, ${plural(item.events, "event")}`)),
    hovertemplate: "%{text}<extra></extra>",
  }));
  const fine = matchMedia("(pointer: fine)").matches,
    [first, second] = map.explained ?? [];
  const about = (name, share) => ({
    name: share === undefined ? name : `${name}, ${percent(share, 0)}`,
    fixedrange: !fine,
    showticklabels: false,
  });
  return {
    traces,
    layout: {
      hovermode: "closest",
      dragmode: fine ? "zoom" : false,
      margin: { l: 28, r: 8, t: 8, b: 30 },
      xaxis: about("first component", first),
      yaxis: about("second component", second),
    },
  };
});

async function loadMap() {
  try {
    map = await ask(`/model/map?n=${POINTS}`);
    const groups = byGenre(map.items).map(([genre, items]) => `${genre} ${whole(items.length)}`);
    say(
      "factor-summary",
      map.items.length
        ? `${plural(map.items.length, "item")} at event ${whole(map.seq)}: ${groups.join(", ")}. Shares are of the variance. Near each other: liked by the same people. Larger: more events.`
        : "No item was learned yet.",
    );
    factors.drawn = -Infinity;
    factors.touch();
  } catch (error) {
    say("factor-summary", `There is no map: ${told(error)}.`);
  }
}

$("factor-reload").addEventListener("click", loadMap);

const load = () => Promise.all([loadModel(), loadSnapshots(), loadMap()]);

whenSeen($("model"), () => {
  seen = true;
  void load();
});

let kept = null,
  run = null,
  empty = false;

function news() {
  if (!seen) return;
  const marks = store.learning?.marks?.filter(mark => mark.kind === "snapshot") ?? [],
    last = marks.at(-1)?.seq ?? null,
    started = store.hello?.started_at_ms ?? null;
  if ((run !== null && run !== started) || (empty && store.now?.seq)) void load();
  else if (kept !== last) void Promise.all([loadModel(), loadSnapshots()]);
  [kept, run, empty] = [last, started, store.now?.seq === 0];
}

onNews(["hello", "learning", "now"], news);
onNews(["hello"], () => {
  if (seen && $("model").dataset.state === "error") void load();
});

// Panel 4: where the users of the latest events are. Drawn here: lines of the globe and a few cities, and nothing from outside.

import { project, graticule, INSETS, CITIES } from "./projection.js";
import { $, el, panel, say, svg } from "./dom.js";
import { clock, decimal, known, named as title, whole } from "./format.js";
import { onNews, scale, store } from "./store.js";

const MOST = 150,
  LISTED = 12,
  FADED_AFTER_MS = 60_000,
  FAINTEST = 0.18;
const dots = new Map();
let layer = null,
  marked = null;

function draw() {
  const root = $("map-drawing"),
    names = svg("g", { class: "names" });
  root.append(...graticule().map(points => svg("polyline", { class: "graticule", points })));
  for (const { name, x, y, width, height } of INSETS) {
    root.append(
      svg("rect", { class: "inset", x, y, width, height, rx: 6 }),
      svg("text", { class: "place", x: x + 6, y: y + height - 6 }, name),
    );
  }
  for (const [name, lat, lon] of CITIES) {
    const at = project(lat, lon);
    root.append(svg("path", { class: "city", d: `M${at.x - 3} ${at.y}h6m-3 -3v6` }));
    names.append(svg("text", { class: "place", x: at.x + 7, y: at.y - 6 }, name));
  }
  layer = root.appendChild(svg("g", {}));
  root.append(names);
}

function told(event) {
  const { rating, count, user, place } = event;
  const said = known(rating) ? `rated ${rating}` : known(count) ? `count ${whole(count)}` : "no rating";
  return `${title(event)}: ${said}, by user ${user} at ${place.name ?? `${decimal(place.lat, 1)}, ${decimal(place.lon, 1)}`}`;
}

function kind(event) {
  if (!known(event.rating)) return "dot plain";
  return event.rating >= scale().positive ? "dot liked" : "dot disliked";
}

function dot(event, at) {
  const made = svg("circle", { class: kind(event), cx: at.x.toFixed(1), cy: at.y.toFixed(1), r: 5, "data-seq": event.seq });
  made.addEventListener("pointerenter", () => mark(event));
  made.addEventListener("click", () => mark(event));
  return made;
}

function mark(event) {
  if (marked) dots.get(marked)?.classList.remove("marked");
  marked = event.seq;
  const node = dots.get(marked);
  node?.classList.add("marked");
  if (node) layer.append(node);
  say("map-tip", `${told(event)}.`);
}

/** Those of the events that have a place on the map, the newest first. */
const drawn = () => store.events.filter(event => event.place && project(event.place.lat, event.place.lon)).slice(0, MOST);

function fade() {
  const now = performance.now();
  for (const event of store.events) {
    const share = Math.max(0, 1 - (now - event.came) / FADED_AFTER_MS);
    dots.get(event.seq)?.setAttribute("opacity", (FAINTEST + (1 - FAINTEST) * share).toFixed(2));
  }
}

function list() {
  const placed = store.events.filter(event => event.place).slice(0, LISTED);
  $("places").replaceChildren(
    ...placed.map(event => el("li", null, el("span", { class: "number quiet" }, clock(event.at_ms)), " ", `${told(event)}.`)),
  );
}

function show() {
  if (!layer) draw();
  const events = drawn(),
    wanted = new Set(events.map(event => event.seq));
  for (const [seq, node] of dots) {
    if (wanted.has(seq)) continue;
    node.remove();
    dots.delete(seq);
  }
  for (const event of events.reverse()) {
    if (dots.has(event.seq)) continue;
    dots.set(event.seq, dot(event, project(event.place.lat, event.place.lon)));
    layer.append(dots.get(event.seq));
  }
  fade();
  list();
  say("placed", whole(store.placed));
  say("unplaced", whole(store.unplaced));
  if (store.placed) panel("map", "live");
  else if (store.events.length)
    panel("map", "empty", "No place is known of the users of these events: a ZIP code of the United States gives one.");
  else panel("map", "empty", "The next event will be shown here, if it is known where its user is.");
}

$("map-drawing").addEventListener("keydown", event => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const events = drawn(),
    at = events.findIndex(one => one.seq === marked);
  $("map-tip").setAttribute("aria-live", "polite");
  if (events.length) mark(events[Math.min(events.length - 1, Math.max(0, at < 0 ? 0 : at + step))]);
});
$("map-drawing").addEventListener("blur", () => $("map-tip").setAttribute("aria-live", "off"));
setInterval(() => {
  if (!document.hidden) fade();
}, 1000);
onNews(["hello", "events"], show);

// Panel 5: be a user. Each rating goes the whole way, over the log, and the list that comes back has learned it.

import { ask, Refused, told } from "./api.js";
import { $, el, panel, say, settled } from "./dom.js";
import { decimal, named, plural, span } from "./format.js";
import { untilSoon, whenLearned } from "./learned.js";
import { onPick } from "./picker.js";
import { showRanked, summary } from "./ranked.js";
import { stars } from "./stars.js";
import { counted, onNews, store, unchangeable } from "./store.js";

const LENGTH = 10,
  FOUND = 8,
  NEAR = 5;
/** The user, the ratings given here, and the ids of the list as it stands. */
let me = null,
  before = null,
  turn = 0;

const path = id => encodeURIComponent(id);

function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return [...bytes].map(byte => byte.toString(16).padStart(2, "0")).join("");
}

const invitation = () =>
  unchangeable()
    ? ""
    : counted()
      ? "Say what you listened to, and see this list change."
      : "Rate a title, and see this list change.";

async function become(id) {
  me = { id, rated: new Map(), last: null };
  before = null;
  turn += 1;
  const mine = turn;
  $("reranked").hidden = true;
  say("for-whom", `for ${id}`);
  say("who", `You are ${id}.`);
  say("moves", invitation());
  $("then-user").value = id;
  await Promise.all([relist(mine), found()]);
}

/** Says who the user is. Of a new one nothing is asked that there is not yet. */
async function describe(mine, cold) {
  if (cold) return say("who", `You are ${me.id}, who is new: the most popular items come first.`);
  try {
    const user = await ask(`/users/${path(me.id)}?n=1`);
    const about = [user.age && `${user.age} years`, user.gender, user.occupation, user.zip].filter(Boolean).join(", ");
    if (mine === turn)
      say("who", `You are ${user.id}${about ? ` (${about})` : ""}, with ${plural(user.known_items, "item")} known of you.`);
  } catch (error) {
    if (mine === turn) say("who", told(error));
  }
}

function reasons(because) {
  if (!because?.length) return el("span", null);
  return el(
    "div",
    { class: "because" },
    el("span", { class: "muted" }, "because of "),
    ...because.map(reason =>
      el("span", { class: "chip", title: `speaks for it with ${decimal(reason.contribution, 3)}` }, named(reason)),
    ),
  );
}

const extras = item => [
  el(
    "div",
    { class: "under" },
    reasons(item.because),
    stars(item, me.rated.get(item.id), rating => rate(item, rating)),
  ),
];

/** Asks for the list and shows it; with a token, as it is once what was sent is learned. */
async function relist(mine, token, clicked) {
  try {
    const wanted = () => mine === turn,
      since = token ? `&token=${encodeURIComponent(token)}` : "";
    const waiting = left =>
      say("moves", `Your event is on the log behind ${plural(left, "other")}: the list follows when it is learned.`);
    if (token) await untilSoon(token, wanted, waiting);
    if (!wanted()) return;
    const answer = await whenLearned(() => ask(`/recommend/${path(me.id)}?n=${LENGTH}&explain=true${since}`), wanted);
    if (mine !== turn) return;
    const list = $("recommendations"),
      row = [...list.children].indexOf(document.activeElement?.closest("li"));
    showRanked(list, answer.items, clicked ? before : null, extras);
    // Whoever rates by keyboard goes on at the same place.
    if (row >= 0) list.children[Math.min(row, list.children.length - 1)]?.querySelector("[tabindex='0'], .listen")?.focus();
    if (clicked) {
      // Read after the frame in which the list has changed, which is what a person waits for.
      requestAnimationFrame(() => {
        say("reranked-ms", span(performance.now() - clicked));
        $("reranked").hidden = false;
      });
      say("moves", before ? summary(before, answer.items) : "");
    }
    before = answer.items.map(item => item.id);
    panel("user", answer.items.length ? "live" : "empty", answer.items.length ? "" : "There is nothing to recommend yet.");
    void describe(mine, answer.cold);
    void near(mine, answer.items, answer.cold);
  } catch (error) {
    if (mine === turn) panel("user", "error", `The list could not be had: ${told(error)}.`);
  }
}

async function rate(item, rating) {
  const clicked = performance.now(),
    who = me.id;
  turn += 1;
  const mine = turn,
    event = { user: who, item: item.id, id: `page-${random()}` };
  if (rating !== null) event.rating = rating;
  me.rated.set(item.id, rating);
  me.last = item;
  showTitles();
  try {
    const { token, rejected, errors } = await ask("/events", { method: "POST", body: event, scope: "ingest" });
    if (rejected) throw new Refused(422, errors[0]);
    await relist(mine, token, clicked);
  } catch (error) {
    if (me.id !== who) return;
    me.rated.delete(item.id);
    showTitles();
    say("moves", `The rating of ${named(item)} was not taken: ${told(error)}.`);
  }
}

async function near(mine, items, cold) {
  const about = me.last ?? items[0];
  const show = (id, entries, none) => {
    if (mine === turn) $(id).replaceChildren(...(entries.length ? entries : [el("li", { class: "muted" }, none)]));
  };
  if (cold) show("near-users", [], "Known after the first rating.");
  else nearUsers(show);
  if (!about) return show("near-items", [], "None yet.");
  say("near-items-title", `Nearest to ${named(about)}`);
  const like = ask(`/similar/${path(about.id)}?n=${NEAR}`).then(answer =>
    answer.items.map(item =>
      el("li", null, el("span", null, named(item)), el("span", { class: "number" }, decimal(item.score, 2))),
    ),
  );
  like.then(
    entries => show("near-items", entries, "None yet."),
    error => show("near-items", [], told(error)),
  );
}

function pick(id) {
  $("user-picker").value = id;
  void become(id);
}

function nearUsers(show) {
  const row = user =>
    el(
      "li",
      null,
      el("button", { type: "button", class: "link", click: () => pick(user.id), "aria-label": `Be user ${user.id}` }, user.id),
      el("span", { class: "number" }, decimal(user.score, 2)),
    );
  ask(`/similar/users/${path(me.id)}?n=${NEAR}`).then(
    answer => show("near-users", answer.users.map(row), "Nobody yet."),
    error => show("near-users", [], told(error)),
  );
}

let titles = [],
  searched = null;

function showTitles(none = "No title holds these words.") {
  const entries = titles.map(item =>
    el(
      "li",
      null,
      el(
        "div",
        null,
        el("span", { class: "title" }, named(item)),
        el("span", { class: "muted genres" }, (item.genres ?? []).join(", ")),
      ),
      me
        ? stars(item, me.rated.get(item.id), rating => rate(item, rating))
        : el("span", { class: "muted" }, "pick a user to rate"),
    ),
  );
  const focused = document.activeElement?.dataset?.rating,
    at = [...$("titles").children].indexOf(document.activeElement?.closest("li"));
  $("titles").replaceChildren(...(entries.length ? entries : [el("li", { class: "muted" }, none)]));
  if (focused && at >= 0) $("titles").children[at]?.querySelector(`[data-rating="${focused}"]`)?.focus();
}

async function found() {
  searched?.abort();
  searched = new AbortController();
  const { signal } = searched,
    q = $("title-search").value.trim();
  try {
    const answer = await ask(`/items?n=${FOUND}${q ? `&q=${encodeURIComponent(q)}` : ""}`, { signal });
    titles = answer.items;
    showTitles(q ? undefined : "No item is known yet.");
  } catch (error) {
    if (signal.aborted) return;
    titles = [];
    showTitles(told(error));
  }
}

$("title-search").addEventListener("input", settled(found, 150));
$("new-user").addEventListener("click", () => {
  pick(`guest-${random().slice(0, 6)}`);
  $("title-search").focus();
});
onPick(become);

let drawnFor = null;

function show() {
  const why = unchangeable(),
    first = store.events[0]?.user ?? null;
  $("rating-disabled").hidden = !why;
  say("rating-disabled", why ?? "");
  if (!me && store.now?.seq && first !== null) pick(first);
  else if (!me && store.now && !store.now.seq)
    panel("user", "empty", "Nothing was learned yet; be the first: make a user, and rate.");
  // Stars or not, allowed or not: what was drawn is drawn again when that changes.
  const how = `${why} ${counted()}`;
  if (drawnFor !== how && me) {
    showTitles();
    say("title-label", counted() ? "Say what you listened to" : "Rate a title");
  }
  drawnFor = how;
}

onNews(["hello", "now", "events"], show);
onNews(["hello"], () => {
  if (me && $("user").dataset.state === "error") void become(me.id);
});

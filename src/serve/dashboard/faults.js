// Panel 7: events that could not be read, which may be sent again, and what the engine warned of.

import { ask, told } from "./api.js";
import { $, el, panel, say, whenSeen } from "./dom.js";
import { bytes, clock, date, plural, words } from "./format.js";
import { onNews, store, unchangeable } from "./store.js";

const SHOWN = 50;
/** Letters that are kept at most: the table is read by people. */
const MOST = 500;
let letters = [],
  cursor = null,
  seen = false,
  counted = -1;
const selected = new Set();
/** The field's text while nobody has changed it. */
let unchanged = "";

const place = ({ topic, partition, offset }) => `${topic} ${partition}:${offset}`;
const chosen = () => letters.filter(letter => selected.has(place(letter)));

function enable() {
  const why = unchangeable();
  $("replay-selected").disabled = Boolean(why) || !selected.size;
  $("replay-selected").title = why ?? "";
  say("replay-selected", selected.size ? `Replay ${plural(selected.size, "letter")}` : "Replay the selected");
  const one = chosen();
  $("correction").disabled = one.length !== 1;
  $("correction").placeholder = one.length === 1 ? "" : "Select one letter.";
  if (one.length === 1 && $("correction").dataset.of !== place(one[0])) {
    $("correction").value = one[0].text ?? "";
    // Read back, since a field has line ends of its own.
    unchanged = $("correction").value;
    $("correction").dataset.of = place(one[0]);
  } else if (one.length !== 1) {
    $("correction").value = "";
    delete $("correction").dataset.of;
  }
}

/** What the text does not show of the original. */
function lacking({ lossy, cut_from: bytesSent }) {
  if (bytesSent) return `The beginning of ${bytes(bytesSent)}: the store keeps no more.`;
  return lossy ? "\ufffd stands for bytes that are no UTF-8." : null;
}

function row(letter) {
  const key = place(letter),
    lack = lacking(letter);
  const box = el("input", {
    type: "checkbox",
    "aria-label": `Select ${key}`,
    change: () => {
      box.checked ? selected.add(key) : selected.delete(key);
      enable();
    },
  });
  box.checked = selected.has(key);
  return el(
    "tr",
    null,
    el("td", null, box),
    el("td", { class: "when quiet" }, date(letter.at_ms)),
    el("td", { class: "id" }, key),
    el(
      "td",
      null,
      el("strong", null, words(letter.reason)),
      el("div", { class: "muted" }, letter.detail ?? ""),
      letter.replayed_at_ms ? el("div", { class: "done" }, `✓ replayed ${date(letter.replayed_at_ms)}`) : null,
    ),
    el(
      "td",
      null,
      el("code", { class: "original" }, letter.text || "(empty)"),
      lack ? el("div", { class: "muted" }, lack) : null,
    ),
  );
}

function show() {
  $("dead-letters").replaceChildren(...letters.map(row));
  $("more-letters").hidden = !cursor || letters.length >= MOST;
  enable();
}

async function load(more = false, quiet = true) {
  const reason = $("reason").value,
    query = new URLSearchParams({ n: SHOWN, ...(reason && { reason }), ...(more && cursor && { cursor }) });
  try {
    const answer = await ask(`/dead-letters?${query}`, { scope: "admin", quiet });
    letters = more ? [...letters, ...answer.dead_letters].slice(0, MOST) : answer.dead_letters;
    cursor = answer.cursor ?? null;
    const have = new Set(letters.map(place));
    for (const key of selected) if (!have.has(key)) selected.delete(key);
    if (letters.length) panel("faults", "live");
    else panel("faults", "empty", reason ? "No dead letter has this reason." : "No dead letter: every event could be read.");
  } catch (error) {
    letters = more ? letters : [];
    panel(
      "faults",
      "error",
      error.forKey
        ? "The originals are shown to those who hold an admin key: press “Look again” to give it."
        : `The dead letters could not be listed: ${told(error)}.`,
    );
  }
  show();
}

async function replay() {
  const which = chosen(),
    text = $("correction").value;
  if (!which.length) return;
  const payload = which.length === 1 && text !== unchanged ? text : null;
  const positions = which.map(({ topic, partition, offset }) => ({ topic, partition, offset }));
  say("faults-result", "Sending…");
  try {
    const { replayed, refused = [] } = await ask("/dead-letters/replay", {
      method: "POST",
      body: { positions, payload },
      scope: "admin",
    });
    const why = refused.length ? ` ${plural(refused.length, "letter")} not: ${refused[0].detail}.` : "";
    say("faults-result", `${plural(replayed, "letter")} sent again.${why}`);
    selected.clear();
    await load();
  } catch (error) {
    say("faults-result", `Nothing was sent: ${told(error)}.`);
  }
}

function reasons() {
  const select = $("reason"),
    names = Object.keys(store.now?.rejects ?? {}).sort(),
    have = [...select.options].slice(1).map(option => option.value);
  if (names.join() === have.join()) return;
  const before = select.value;
  select.replaceChildren(new Option("any", ""), ...names.map(name => new Option(words(name), name)));
  select.value = names.includes(before) ? before : "";
}

function warnings() {
  const list = [...(store.now?.warnings ?? [])].reverse(),
    key = JSON.stringify(list);
  if ($("warnings").dataset.key === key) return;
  $("warnings").dataset.key = key;
  if (!list.length) return void $("warnings").replaceChildren(el("li", { class: "muted" }, "None."));
  $("warnings").replaceChildren(
    ...list.map(({ at_ms: at, level, target, message }) =>
      el(
        "li",
        { "data-level": level },
        el("span", { class: "number quiet" }, clock(at)),
        el("strong", null, level === "error" ? "▲ error" : "△ warning"),
        el("span", null, message),
        el("code", { class: "muted" }, target ?? ""),
      ),
    ),
  );
}

$("letters-reload").addEventListener("click", () => load(false, false));
$("more-letters").addEventListener("click", () => load(true));
$("replay-selected").addEventListener("click", replay);
$("reason").addEventListener("change", () => load());
whenSeen($("faults"), () => {
  seen = true;
  void load();
});

onNews(["hello", "now"], () => {
  warnings();
  reasons();
  enable();
  const count = Object.values(store.now?.rejects ?? {}).reduce((sum, one) => sum + one, 0);
  // New ones are fetched while somebody looks, unless a selection would be lost.
  if (seen && counted >= 0 && count !== counted && !selected.size && $("faults").dataset.state !== "error") void load();
  counted = count;
});

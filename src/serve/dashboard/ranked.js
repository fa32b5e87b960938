// A list in an order, beside the one that stood there before: what moved up and down, what is new.

import { el, still } from "./dom.js";
import { named } from "./format.js";

/** How each item of a list has moved from the ids before: null where there were none. */
export function moves(before, items) {
  if (!before) return items.map(() => null);
  const places = new Map(before.map((id, at) => [id, at]));
  return items.map((item, at) => (places.has(item.id) ? places.get(item.id) - at : "new"));
}

/** The same as a sentence. */
export function summary(before, items) {
  const all = moves(before, items),
    count = test => all.filter(test).length,
    have = new Set(items.map(item => item.id));
  const parts = [
    [count(move => move > 0), "moved up"],
    [count(move => move < 0), "moved down"],
    [count(move => move === "new"), "new"],
    [before.filter(id => !have.has(id)).length, "gone"],
  ];
  const said = parts.filter(([number]) => number).map(([number, what]) => `${number} ${what}`);
  return said.length ? `${said.join(", ")}.` : "The order is the same.";
}

function sign(move) {
  if (move === null) return null;
  const [kind, shown, spoken] =
    move === "new"
      ? ["new", "new", "new"]
      : move > 0
        ? ["up", `▲ ${move}`, `up ${move}`]
        : move < 0
          ? ["down", `▼ ${-move}`, `down ${-move}`]
          : ["same", "=", "same place"];
  return el(
    "span",
    { class: `move ${kind}` },
    el("span", { "aria-hidden": "true" }, shown),
    el("span", { class: "hidden" }, spoken),
  );
}

/** Shows items in a list; rows that stay glide to their new place. `more` gives what a row
 *  has besides; with it genres are told. */
export function showRanked(list, items, before, more) {
  const old = new Map([...list.children].map(row => [row.dataset.item, row.getBoundingClientRect().top]));
  const all = moves(before, items);
  list.replaceChildren(
    ...items.map((item, at) =>
      el(
        "li",
        { "data-item": item.id, "data-move": all[at] ?? "" },
        el("span", { class: "rank number" }, String(at + 1)),
        el(
          "div",
          { class: "what" },
          el(
            "div",
            { class: "name" },
            el(
              "span",
              null,
              el("span", { class: "title" }, named(item)),
              more ? el("span", { class: "muted genres" }, item.genres?.join(", ") ?? "") : null,
            ),
            sign(all[at]),
          ),
          ...(more?.(item) ?? []),
        ),
      ),
    ),
  );
  if (still()) return;
  for (const row of list.children) {
    const from = old.get(row.dataset.item),
      by = from === undefined ? null : from - row.getBoundingClientRect().top;
    if (by === null && before) row.animate([{ opacity: 0 }, { opacity: 1 }], 300);
    else if (by)
      row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 300, easing: "ease-out" });
  }
}

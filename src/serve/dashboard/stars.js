// What a person says of an item: stars, or where nobody rates, that it was listened to.

import { el } from "./dom.js";
import { named } from "./format.js";
import { counted, scale, unchangeable } from "./store.js";

const MOST = 10;

function values() {
  const { low, high } = scale(),
    from = Math.ceil(low),
    to = Math.floor(high);
  return to - from < MOST ? Array.from({ length: to - from + 1 }, (_, at) => from + at) : [low, (low + high) / 2, high];
}

/** The controls of an item; `rate` gets the rating, or null for a listen. One stop of the tab key, arrows go on. */
export function stars(item, given, rate) {
  const off = Boolean(unchangeable());
  if (counted()) return el("button", { type: "button", class: "listen", disabled: off, click: () => rate(null) }, "Listened");
  const all = values(),
    first = Math.max(0, all.indexOf(given));
  const buttons = all.map((value, at) =>
    el(
      "button",
      {
        type: "button",
        disabled: off,
        tabindex: at === first ? 0 : -1,
        "aria-pressed": String(value === given),
        "data-rating": value,
        class: given !== undefined && value <= given ? "full" : null,
        "aria-label": `${value} of ${all.at(-1)}`,
        click: () => rate(value),
      },
      "★",
    ),
  );
  return el(
    "span",
    {
      class: "stars",
      role: "group",
      "aria-label": `Rate ${named(item)}`,
      keydown: event => {
        const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const next = buttons[Math.max(0, Math.min(buttons.length - 1, buttons.indexOf(event.target) + step))];
        buttons.forEach(button => {
          button.tabIndex = button === next ? 0 : -1;
        });
        next.focus();
      },
    },
    ...buttons,
  );
}

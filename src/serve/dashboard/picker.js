// Finds a user by the beginning of the id: the server looks, a page of what it finds is shown, and never all.

import { ask, told } from "./api.js";
import { $, el, settled } from "./dom.js";
import { plural } from "./format.js";

const SHOWN = 20;
const input = $("user-picker"),
  list = $("user-options");
let active = -1,
  asked = null,
  choose = () => {};

const options = () => [...list.querySelectorAll("[role=option]:not([aria-disabled])")];

function open(isOpen) {
  list.hidden = !isOpen;
  input.setAttribute("aria-expanded", String(isOpen));
  if (!isOpen) move(-1);
}

function move(to) {
  const all = options();
  active = all.length ? Math.max(-1, Math.min(all.length - 1, to)) : -1;
  all.forEach((option, at) => option.setAttribute("aria-selected", String(at === active)));
  if (active < 0) return input.removeAttribute("aria-activedescendant");
  input.setAttribute("aria-activedescendant", all[active].id);
  all[active].scrollIntoView({ block: "nearest" });
}

function pick(id) {
  asked?.abort();
  input.value = id;
  open(false);
  choose(id);
}

function option(user, at) {
  const about = [user.age, user.gender, user.occupation].filter(Boolean).join(", ");
  // A press would take the focus from the field before the click comes.
  return el(
    "li",
    {
      role: "option",
      id: `user-option-${at}`,
      "aria-selected": "false",
      mousedown: event => event.preventDefault(),
      click: () => pick(user.id),
    },
    el("strong", null, user.id),
    el("span", { class: "muted" }, ` ${plural(user.known_items, "item")}${about ? ` · ${about}` : ""}`),
  );
}

const note = text => el("li", { role: "option", "aria-disabled": "true", class: "note muted", "aria-selected": "false" }, text);

async function look() {
  asked?.abort();
  asked = new AbortController();
  const { signal } = asked,
    q = input.value.trim();
  try {
    const { users, next } = await ask(`/users?n=${SHOWN}${q ? `&q=${encodeURIComponent(q)}` : ""}`, { signal });
    if (signal.aborted || document.activeElement !== input) return;
    list.replaceChildren(...users.map(option));
    if (!users.length) list.append(note(q ? `Nobody is called so: Enter makes the user “${q}”.` : "There is nobody yet."));
    if (next) list.append(note("There are more: type to narrow them down."));
  } catch (error) {
    if (signal.aborted) return;
    list.replaceChildren(note(told(error)));
  }
  active = -1;
  open(true);
}

const lookSoon = settled(look, 120);
input.addEventListener("input", lookSoon);
input.addEventListener("focus", () => {
  input.select();
  lookSoon();
});
input.addEventListener("blur", () => {
  asked?.abort();
  open(false);
});
input.addEventListener("keydown", event => {
  const { key } = event;
  if (key === "ArrowDown" || key === "ArrowUp") {
    event.preventDefault();
    if (list.hidden) return void look();
    move(key === "ArrowDown" ? active + 1 : active < 0 ? options().length - 1 : active - 1);
  } else if (key === "Enter") {
    event.preventDefault();
    const id = active >= 0 ? options()[active].querySelector("strong").textContent : input.value.trim();
    if (id) pick(id);
  } else if (key === "Escape") open(false);
});

/** Calls with the id of each user that is picked. */
export const onPick = call => {
  choose = call;
};

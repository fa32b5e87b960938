// Light, dark, or as the system has it.

import { $, say } from "./dom.js";

const ORDER = ["system", "light", "dark"];
const listeners = [];

export const onTheme = call => listeners.push(call);

const chosen = () => document.documentElement.dataset.theme ?? "system";

function label() {
  say("theme", `◐ ${chosen()}`);
  $("theme").setAttribute("aria-label", `Theme: ${chosen()}`);
}

function show() {
  label();
  listeners.forEach(call => call());
}

$("theme").addEventListener("click", () => {
  const next = ORDER[(ORDER.indexOf(chosen()) + 1) % ORDER.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("freshet.theme", next);
  } catch {
    /* Storage is forbidden: it holds for this page. */
  }
  show();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
label();

// Text of the data goes into the page as text, and nowhere as markup.

const special = /[&<>"']/g,
  entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export const $ = id => document.getElementById(id);

/** An element: `el("p", { class: "muted" }, "text", child)`; functions become listeners, null and false are left out. */
export function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

export function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Sets a text only where it differs: the rest of the page keeps still. */
export function say(id, text) {
  const node = typeof id === "string" ? $(id) : id;
  if (node.textContent !== text) node.textContent = text;
}

/** For plotly, which reads markup in texts. */
export const escaped = text => String(text).replace(special, found => entities[found]);

const NOTICES = { loading: "Waiting for the first figures…" };

/** Sets the state of a panel, and what is said instead of, or beside, its figures. */
export function panel(id, state, notice = NOTICES[state] ?? "") {
  const section = $(id);
  if (section.dataset.state !== state) section.dataset.state = state;
  say(section.querySelector(".notice"), notice);
}

/** Calls at the first time that an element comes near the screen. */
export function whenSeen(node, call) {
  const observer = new IntersectionObserver(
    entries => {
      if (entries.some(entry => entry.isIntersecting)) {
        observer.disconnect();
        call();
      }
    },
    { rootMargin: "300px" },
  );
  observer.observe(node);
}

/** Calls once, after the last of several calls. */
export function settled(call, wait) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), wait);
  };
}

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

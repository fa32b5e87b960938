// Charts by plotly, which is loaded when the rest of the page stands. A chart is drawn at most once a second, and only
// while it is on the screen.

import { $, el } from "./dom.js";
import { onTheme } from "./theme-toggle.js";

const EVERY_MS = 1000;
const charts = [];
let loading = null;

function load() {
  loading ??= new Promise((resolve, reject) => {
    const script = el("script", { src: "/dashboard/plotly.js", async: true });
    script.onload = () => resolve(globalThis.Plotly);
    script.onerror = () => reject(new Error("the charts could not be loaded"));
    document.head.append(script);
  });
  return loading;
}

/** Colours as the theme has them now. */
export function colours() {
  const probe = $("probe") ?? document.body.appendChild(el("i", { id: "probe", hidden: true }));
  const read = name => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["ink", "muted", "line", "card", "blue", "orange", "green", "purple", "sky", "amber", "yellow", "grey"];
  return Object.fromEntries(names.map(name => [name, read(name)]));
}

const axis = (colour, given) => ({
  gridcolor: colour.line,
  linecolor: colour.line,
  zeroline: false,
  fixedrange: true,
  automargin: true,
  tickfont: { color: colour.muted },
  title: { font: { color: colour.muted, size: 12 }, standoff: 8, text: given?.name ?? "" },
  ...given,
});

function layout(colour, { xaxis, yaxis, ...rest }) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 44, r: 12, t: 8, b: 36 },
    dragmode: false,
    hovermode: "x unified",
    font: { family: "system-ui, sans-serif", size: 12, color: colour.ink },
    hoverlabel: { bgcolor: colour.card, bordercolor: colour.line, font: { color: colour.ink } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: colour.ink } },
    xaxis: axis(colour, xaxis),
    yaxis: axis(colour, yaxis),
    ...rest,
  };
}

class Chart {
  seen = false;
  dirty = false;
  drawn = -Infinity;
  busy = false;

  constructor(id, build) {
    this.node = $(id);
    this.build = build;
    new IntersectionObserver(
      entries => {
        this.seen = entries.at(-1).isIntersecting;
        if (this.seen) void load().catch(() => {});
      },
      { rootMargin: "150px" },
    ).observe(this.node);
  }

  /** Draws it soon. */
  touch() {
    this.dirty = true;
  }

  async draw() {
    const colour = colours(),
      built = this.build(colour, axis);
    this.dirty = false;
    this.drawn = performance.now();
    if (!built) {
      if (this.node.hasChildNodes()) globalThis.Plotly?.purge(this.node);
      return this.node.replaceChildren();
    }
    this.busy = true;
    try {
      const plotly = await load();
      await plotly.react(this.node, built.traces, layout(colour, built.layout), { displayModeBar: false, responsive: true });
    } catch (error) {
      this.node.textContent = error.message;
    } finally {
      this.busy = false;
    }
  }
}

/** A chart in an element; `build` gets the colours and a maker of axes, and gives traces and a layout, or nothing yet. */
export function chart(id, build) {
  const made = new Chart(id, build);
  charts.push(made);
  return made;
}

setInterval(() => {
  if (document.hidden) return;
  const due = charts.filter(one => one.dirty && one.seen && !one.busy && performance.now() - one.drawn >= EVERY_MS);
  for (const one of due) void one.draw();
}, 250);

onTheme(() => charts.forEach(one => one.touch()));

// The first chart need not wait for the scroll to it, and nothing else for the charts.
addEventListener("load", () => setTimeout(() => void load().catch(() => {}), 300));

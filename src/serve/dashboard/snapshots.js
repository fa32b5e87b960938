// The snapshots of panel 6: checked, taken away, compared with each other, and asked instead of the newest model.

import { ask, hasKey, request, told } from "./api.js";
import { $, el, say } from "./dom.js";
import { bytes, date, decimal, known, whole } from "./format.js";
import { showRanked, summary } from "./ranked.js";

const LENGTH = 10;

async function verify(seq, cell) {
  cell.textContent = "…";
  try {
    const found = await ask(`/snapshots/${seq}/verify`);
    cell.textContent = found.ok ? "✓ whole" : "✗ damaged";
    say(
      "verified",
      `Snapshot ${whole(seq)}: ${found.detail ?? (found.ok ? "each block is as the manifest says" : "its blocks differ from the manifest")}.`,
    );
  } catch (error) {
    cell.textContent = "✗ failed";
    say("verified", `Snapshot ${whole(seq)} could not be checked: ${told(error)}.`);
  }
}

/** A link sends no key: where one is needed, the file is asked for here. */
async function exported(event, seq) {
  if (!hasKey()) return;
  event.preventDefault();
  try {
    const response = await request(`/snapshots/${seq}/export`, { scope: "admin", signal: AbortSignal.timeout(600_000) });
    const url = URL.createObjectURL(await response.blob());
    el("a", { href: url, download: `freshet-${seq}.zip` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    say("verified", `Snapshot ${whole(seq)} could not be exported: ${told(error)}.`);
  }
}

function row({ seq, created_at_ms: taken, mae, rmse, users, items, sha256 }) {
  const number = text => el("td", { class: "number" }, text),
    check = el("td", null);
  check.append(
    el(
      "button",
      { type: "button", class: "link", "aria-label": `Verify snapshot ${seq}`, click: () => verify(seq, check) },
      "verify",
    ),
  );
  return el(
    "tr",
    { "data-seq": seq },
    number(whole(seq)),
    el("td", { class: "when" }, date(taken)),
    number(decimal(mae)),
    number(decimal(rmse)),
    number(whole(users)),
    number(whole(items)),
    el("td", null, el("code", { title: sha256 }, sha256.slice(0, 12))),
    check,
    el(
      "td",
      null,
      el(
        "a",
        {
          href: `/snapshots/${seq}/export`,
          download: `freshet-${seq}.zip`,
          "aria-label": `Export snapshot ${seq}`,
          click: event => exported(event, seq),
        },
        "export",
      ),
    ),
  );
}

function offer(select, snapshots, wanted) {
  const before = select.value;
  select.replaceChildren(...snapshots.map(({ seq }) => new Option(whole(seq), seq)));
  select.value = snapshots.some(({ seq }) => String(seq) === before) ? before : String(wanted?.seq ?? "");
}

export async function loadSnapshots() {
  try {
    const { snapshots } = await ask("/snapshots");
    const none = el("tr", null, el("td", { colspan: 9, class: "muted" }, "No snapshot was taken yet."));
    $("snapshots").replaceChildren(...(snapshots.length ? snapshots.map(row) : [none]));
    offer($("diff-a"), snapshots, snapshots[1] ?? snapshots[0]);
    offer($("diff-b"), snapshots, snapshots[0]);
    offer($("then-seq"), snapshots, snapshots.at(-1));
  } catch (error) {
    $("snapshots").replaceChildren(
      el("tr", null, el("td", { colspan: 9 }, `The snapshots could not be listed: ${told(error)}.`)),
    );
  }
}

const FIGURES = [
  ["Events", ["counts", "events"], whole],
  ["Users", ["counts", "users"], whole],
  ["Items", ["counts", "items"], whole],
  ["MAE", ["metrics", "mae"], decimal],
  ["RMSE", ["metrics", "rmse"], decimal],
];

const at = (object, path) => path.reduce((value, key) => value?.[key], object);

/** A table; the first cell of a row is its head. */
function table(head, rows) {
  const cells = row => row.map((text, place) => (place ? el("td", { class: "number" }, text) : el("th", { scope: "row" }, text)));
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": head[0] },
    el(
      "table",
      null,
      el(
        "thead",
        null,
        el("tr", null, ...head.map((text, place) => el("th", { scope: "col", class: place ? "number" : null }, text))),
      ),
      el("tbody", null, ...rows.map(row => el("tr", null, ...cells(row)))),
    ),
  );
}

function showDiff(diff) {
  const sides = [diff.a, diff.b],
    text = value =>
      value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value);
  const figures = FIGURES.filter(([, path]) => sides.some(side => known(at(side, path)))).map(([name, path, write]) => [
    name,
    ...sides.map(side => write(at(side, path))),
  ]);
  const params = Object.entries(diff.params ?? {}).map(([name, [a, b]]) => [name, text(a), text(b)]);
  const sections = (diff.sections ?? []).map(part => [
    part.name,
    part.rows?.map(whole).join(" → ") ?? "–",
    whole(part.shared),
    whole(part.changed),
    whole(part.new),
    bytes(part.bytes),
    part.moved ? decimal(part.moved.mean, 3) : "–",
  ]);
  $("diff").replaceChildren(
    table(["Figure", whole(diff.a?.seq), whole(diff.b?.seq)], [...figures, ...params]),
    sections.length
      ? table(["Part", "Rows", "Shared", "Changed", "New", "Costs", "Moved"], sections)
      : el("p", { class: "muted" }, "All parts are the same."),
  );
}

$("diff-form").addEventListener("submit", async event => {
  event.preventDefault();
  const [a, b] = [$("diff-a").value, $("diff-b").value];
  if (!a || !b) return;
  try {
    showDiff(await ask(`/snapshots/${a}/diff/${b}`));
  } catch (error) {
    $("diff").replaceChildren(el("p", null, `The two could not be compared: ${told(error)}.`));
  }
});

$("then-form").addEventListener("submit", async event => {
  event.preventDefault();
  const user = $("then-user").value.trim(),
    seq = $("then-seq").value,
    path = `/recommend/${encodeURIComponent(user)}?n=${LENGTH}`;
  if (!user || !seq) return;
  try {
    const [then, now] = await Promise.all([ask(`${path}&at=${seq}`), ask(path)]);
    const ids = then.items.map(item => item.id);
    showRanked($("then-list"), then.items, null);
    showRanked($("now-list"), now.items, ids);
    say("then", `From event ${whole(then.model.seq)} to ${whole(now.model.seq)}: ${summary(ids, now.items)}`);
  } catch (error) {
    say("then", `The lists could not be had: ${told(error)}.`);
  }
});

// The demo's replay: pause, speed, start over.

import { ask, told } from "./api.js";
import { $, say } from "./dom.js";
import { whole } from "./format.js";
import { onNews, store } from "./store.js";

async function control(action, speed) {
  const body = speed === undefined ? { action } : { action, speed };
  try {
    await ask("/replay", { method: "POST", body, scope: "admin" });
    say("replay-result", "");
  } catch (error) {
    say("replay-result", told(error));
  }
}

$("replay-toggle").addEventListener("click", () => control(store.now?.replay?.paused ? "resume" : "pause"));
$("replay-restart").addEventListener("click", () => control("restart"));
$("replay-speed").addEventListener("change", event => {
  const { value } = event.target;
  // A speed is set with the action that leaves all else as it is.
  void control(store.now?.replay?.paused ? "pause" : "resume", value === "" ? null : Number(value));
});

/** The select tells the speed that holds, also one that somebody else has set. */
function showSpeed(speed) {
  const select = $("replay-speed"),
    value = speed === null || speed === undefined ? "" : String(speed);
  if (document.activeElement === select || select.value === value) return;
  if (![...select.options].some(option => option.value === value)) select.add(new Option(`${whole(speed)} events/s`, value));
  select.value = value;
}

onNews(["hello", "now"], () => {
  const replay = store.now?.replay;
  $("replay").hidden = !(store.hello?.replay && replay);
  if ($("replay").hidden) return;
  say("replay-name", `Replay of ${replay.dataset}`);
  say(
    "replay-position",
    `${whole(replay.position)} of ${whole(replay.of)}${replay.done ? ", done" : replay.paused ? ", paused" : ""}`,
  );
  $("replay-progress").value = replay.of ? replay.position / replay.of : 0;
  say("replay-toggle", replay.paused ? "Resume" : "Pause");
  $("replay-toggle").disabled = Boolean(replay.done);
  showSpeed(replay.speed);
});

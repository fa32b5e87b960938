// Waits until the engine is about to learn what was sent. A server answers a question with a token after a while in any case;
// while a whole data set is still before an event on the log, the feed tells how far it is.

import { known } from "./format.js";
import { store } from "./store.js";

/** Events that are learned in less than this need no waiting here: the server waits for them itself. */
const SOON_MS = 500;
/** The same where it is not known how fast it goes. */
const FEW = 500;
const LOOK_EVERY_MS = 250;

/** Events before the one that a token names; 0 where that is not known. */
function before(token) {
  const parts = token.split(".").map(part => part.split(":").map(Number));
  const gaps = parts.map(([partition, next]) => {
    const mine = (store.now?.lag ?? []).filter(one => one.partition === partition && known(one.position));
    return mine.length ? next - Math.max(...mine.map(one => one.position)) : 0;
  });
  return Math.max(0, ...gaps);
}

const pause = ms => new Promise(resolve => setTimeout(resolve, ms));

/** Resolves when it will be learned soon, or `isWanted` no more; `tell` gets the number of events before it. */
export async function untilSoon(token, isWanted, tell) {
  while (isWanted()) {
    const left = before(token);
    if (left <= Math.max(FEW, ((store.now?.events_per_s ?? 0) * SOON_MS) / 1000)) return;
    tell(left);
    await pause(LOOK_EVERY_MS);
  }
}

/** Asks again as long as the answer is that the model has not learned so far. */
export async function whenLearned(ask, isWanted) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.status !== 412 || !isWanted()) throw error;
      await pause(LOOK_EVERY_MS);
    }
  }
}

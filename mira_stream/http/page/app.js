// One page over one stream of Snapshots. Each replaces the last one as a whole.

import { byId, put } from "./dom.js";
import { headline, stages } from "./flow.js";
import { aged, clock, span, stale } from "./format.js";
import { heat } from "./heat.js";
import { hour } from "./hour.js";
import { letters } from "./letters.js";
import { services } from "./services.js";
import { sources } from "./sources.js";
import { theme } from "./theme.js";

let newest = null;
let connected = true;

// The headline in two words, for a tab that is not looked at.
function short(snapshot) {
  if (snapshot.broker.answers === false) return "broker away";
  const stage = snapshot.stages.find((one) => one.bottleneck);
  if (stage) return `${stage.name} ${stage.state === "down" ? "down" : "full"}`;
  if (snapshot.held.length) return "transaction open";
  return snapshot.stages.some((one) => one.state === "unknown") ? "not seen" : "flows";
}

function show(snapshot) {
  newest = snapshot;
  connected = true;
  put("project", snapshot.project);
  document.title = `${short(snapshot)} · mira-stream`;
  for (const part of [headline, stages, hour, sources, heat, letters, services]) part(snapshot);
  age();
}

// What is shown is of now, or says how old it is; times since something began go on meanwhile.
function age() {
  const ago = stale(newest) ? `as of ${span(aged(newest) / 1000)} ago` : "";
  if (!connected) live("off", `no connection, trying again${ago ? `; ${ago}` : ""}`);
  else live(ago ? "off" : "on", ago || `live, ${clock(newest.at_ms)}`);
  if (ago) for (const part of [headline, stages]) part(newest);
}

function live(state, words) {
  byId("live").className = `live ${state}`;
  byId("live").textContent = words;
}

theme();
const events = new EventSource("events");
events.addEventListener("snapshot", (event) => show(JSON.parse(event.data)));
events.addEventListener("error", () => {
  connected = false;
  if (!newest) live("off", "no connection, trying again");
  else age();
});
setInterval(() => newest && age(), 1000);

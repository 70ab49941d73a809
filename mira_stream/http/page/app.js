// One page over one stream of Snapshots. Each replaces the last one as a whole.

import { byId, put } from "./dom.js";
import { headline, stages } from "./flow.js";
import { clock } from "./format.js";
import { heat } from "./heat.js";
import { hour } from "./hour.js";
import { letters } from "./letters.js";
import { services } from "./services.js";
import { sources } from "./sources.js";
import { theme } from "./theme.js";

const STALE_MS = 15000;
let heard = 0;

function show(snapshot) {
  heard = Date.now();
  put("project", snapshot.project);
  document.title = `${snapshot.broker.answers === false ? "broker away" : snapshot.bottleneck ? `${snapshot.bottleneck} full` : "flows"} · mira-stream`;
  for (const part of [headline, stages, hour, sources, heat, letters, services]) part(snapshot);
  live("on", `live, ${clock(snapshot.at_ms)}`);
}

function live(state, words) {
  byId("live").className = `live ${state}`;
  byId("live").textContent = words;
}

theme();
const events = new EventSource("events");
events.addEventListener("snapshot", (event) => show(JSON.parse(event.data)));
events.addEventListener("error", () => live("off", "no connection, trying again"));
setInterval(() => {
  if (heard && Date.now() - heard > STALE_MS) live("off", `nothing new since ${clock(heard)}`);
}, 1000);

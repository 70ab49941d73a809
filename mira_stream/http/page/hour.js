import { h, put, s } from "./dom.js";
import { clock, rate } from "./format.js";

const STATES = ["free", "busy", "full", "down", "unknown"];
const NAMES = { free: "flows", busy: "busy", full: "full", down: "down", unknown: "not seen" };
const HOUR_MS = 3600000;
const WIDE = 1000;
const HIGH = 30;

export function hour(snapshot) {
  const { at_ms: times, lanes } = snapshot.history;
  const end = snapshot.at_ms;
  const legend = STATES.map((state) => h("span", { class: state }, NAMES[state]));
  put("hour-legend", legend, "line: documents out a second");
  const rows = lanes.map((lane) => h(
    "div", { class: "lane" }, h("span", {}, lane.name), strip(lane, times, end), h("span", { class: "end" }, `max ${rate(largest(lane.rate))}`),
  ));
  put("hour", rows, h("div", { class: "axis", "aria-hidden": "true" }, mark(end - HOUR_MS), mark(end - HOUR_MS / 2), mark(end)));
}

// A narrow window has no room for seconds.
function mark(ms) {
  const [hour, minute, second] = clock(ms).split(":");
  return h("span", {}, `${hour}:${minute}`, h("span", { class: "s" }, `:${second}`));
}

function strip(lane, times, end) {
  const x = (ms) => Math.max(0, ((ms - end + HOUR_MS) / HOUR_MS) * WIDE);
  const bands = [];
  for (let at = 0; at < times.length; at += 1) {
    let last = at;
    while (last + 1 < times.length && lane.state[last + 1] === lane.state[at]) last += 1;
    const right = last + 1 < times.length ? times[last + 1] : end;
    const width = Math.max(1.5, x(right) - x(times[at]));
    const faint = lane.state[at] === "free" || lane.state[at] === "unknown";
    bands.push(s("rect", { class: `band ${lane.state[at]}${faint ? " faint" : ""}`, x: x(times[at]).toFixed(1), y: HIGH - 5, width: width.toFixed(1), height: 5 }));
    if (!faint) bands.push(s("rect", { class: `band ${lane.state[at]}`, opacity: ".16", x: x(times[at]).toFixed(1), y: 0, width: width.toFixed(1), height: HIGH - 5 }));
    at = last;
  }
  const most = largest(lane.rate) || 1;
  const points = times.map((ms, at) => [x(ms), lane.rate[at]]).filter(([, value]) => value !== null);
  const curve = points.map(([left, value]) => `${left.toFixed(1)},${(HIGH - 8 - (value / most) * (HIGH - 11)).toFixed(1)}`).join(" ");
  const label = `${lane.name}, last hour: now ${NAMES[lane.state.at(-1)] ?? "not seen"}, at most ${rate(largest(lane.rate))}`;
  return s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, ...bands, s("polyline", { class: "curve", points: curve }));
}

function largest(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? Math.max(...known) : null;
}

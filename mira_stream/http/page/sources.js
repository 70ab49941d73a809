import { empty, h, put, s } from "./dom.js";
import { count, percent, rate } from "./format.js";

const WIDE = 400;
const HIGH = 56;

export function sources(snapshot) {
  put("sources-more", snapshot.sources_left_out ? `${count(snapshot.sources_left_out)} quieter sources are not shown` : "");
  if (!snapshot.sources.length) {
    put("sources-body", empty("No source has a threshold yet. Feed the stream: `mira-stream produce files --project DIR`"));
    return;
  }
  put("sources-body", snapshot.sources.map(card));
}

function card(source) {
  const mark = source.thresholds.at(-1);
  return h(
    "article", { class: "card source", "data-source": source.name },
    h("header", {}, h("h3", {}, source.name), h("span", { class: "quiet" }, source.group)),
    h("div", {}, h("div", { class: "row" }, h("span", { class: "kept" }, percent(source.kept, 1)), h("span", { class: "quiet" }, `kept of ${count(source.documents)} decided${source.as_of_epoch === null ? "" : ` (at epoch ${source.as_of_epoch})`}; target ${percent(source.target, 1)}`)), bullet(source)),
    figure(distribution(source, mark), "quality 0 to 100", mark && mark.keep !== null ? `keep above ${mark.keep.toFixed(1)}` : "no mark yet"),
    figure(thresholds(source), `thresholds, ${source.thresholds.length} epochs`, source.epoch === null ? "" : `epoch ${source.epoch} (${source.basis})`),
    h("div", { class: "tags" }, drift(source.drift), h("span", { class: "tag unknown" }, `${rate(source.rate)} decided`)),
  );
}

const figure = (chart, left, right) => h("figure", {}, chart, h("figcaption", {}, h("span", {}, left), h("span", {}, right)));

function bullet(source) {
  const bar = h("i");
  bar.style.width = `${(source.kept ?? 0) * 100}%`;
  const goal = source.target === null ? null : h("b");
  if (goal) goal.style.left = `calc(${source.target * 100}% - 1px)`;
  return h("div", { class: "bullet", role: "img", "aria-label": `${percent(source.kept, 1)} kept, target ${percent(source.target, 1)}` }, bar, goal);
}

function distribution(source, mark) {
  const bins = source.quality;
  const most = Math.max(0.0001, ...bins);
  const step = WIDE / Math.max(1, bins.length);
  const bars = bins.map((share, at) => s("rect", { class: "bars", x: (at * step + 0.5).toFixed(1), width: (step - 1).toFixed(1), y: (HIGH - (share / most) * (HIGH - 4)).toFixed(1), height: ((share / most) * (HIGH - 4)).toFixed(1) }));
  const line = (value, name) => (value === null || value === undefined ? null : s("line", { class: name, x1: value * 4, x2: value * 4, y1: 0, y2: HIGH }));
  const label = bins.length ? `Distribution of quality in ${source.name}` : `No qualities of ${source.name} yet`;
  return chart(label, ...bars, line(mark?.drop, "dropline"), line(mark?.keep, "keepline"));
}

function thresholds(source) {
  const marks = source.thresholds.filter((one) => one.keep !== null && one.drop !== null);
  const values = marks.flatMap((one) => [one.keep, one.drop]);
  const low = Math.max(0, Math.min(...values) - 2);
  const high = Math.min(100, Math.max(...values) + 2);
  const y = (value) => HIGH - 2 - ((value - low) / Math.max(1, high - low)) * (HIGH - 4);
  const x = (at) => (marks.length > 1 ? (at / (marks.length - 1)) * WIDE : WIDE);
  const path = (key) => marks.map((one, at) => (at ? `H${x(at).toFixed(1)}V${y(one[key]).toFixed(1)}` : `M0 ${y(one[key]).toFixed(1)}`)).join("") + (marks.length === 1 ? `H${WIDE}` : "");
  const label = marks.length ? `Thresholds of ${source.name}: keep ${marks[0].keep} to ${marks.at(-1).keep}` : `No thresholds of ${source.name} yet`;
  return marks.length ? chart(label, s("path", { class: "keepline", d: path("keep") }), s("path", { class: "dropline", d: path("drop") })) : chart(label);
}

const chart = (label, ...parts) => s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, height: HIGH, preserveAspectRatio: "none", role: "img", "aria-label": label }, s("line", { class: "base", x1: 0, x2: WIDE, y1: HIGH, y2: HIGH }), ...parts);

function drift(found) {
  if (!found) return h("span", { class: "tag unknown" }, "no closed window");
  if (found.ks_d === null) return h("span", { class: "tag unknown" }, `drift unknown, ${count(found.documents)} documents`);
  const words = `KS ${found.ks_d.toFixed(2)}, W1 ${found.w1.toFixed(1)}`;
  return found.drifted ? h("span", { class: "tag full" }, `drifted: ${words}`) : h("span", { class: "tag free" }, `no drift: ${words}`);
}

import { empty, h, meter, put } from "./dom.js";
import { count, day } from "./format.js";

let shown = "";

export function letters(snapshot) {
  const now = JSON.stringify([snapshot.dead_counts, snapshot.dead_newest]);
  if (now === shown) return; // the list keeps its place
  shown = now;
  if (!snapshot.dead_counts.length) {
    put("letters-body", empty("None: every document so far could be judged."));
    return;
  }
  const most = Math.max(...snapshot.dead_counts.map((one) => one.letters));
  const reasons = snapshot.dead_counts.map((one) => h(
    "div", { class: "reason full" }, h("span", {}, `${one.reason.replaceAll("_", " ")} (${one.stage})`), h("b", {}, count(one.letters)), meter(one.letters / most, `${one.reason}: ${one.letters}`),
  ));
  const newest = snapshot.dead_newest.map((one) => h(
    "li", { class: "letter" },
    h("p", {}, h("b", {}, one.reason.replaceAll("_", " ")), `: ${one.error || "no further words"}`),
    h("p", { class: "quiet" }, h("span", {}, day(one.at_ms)), h("span", {}, one.source || "no source"), h("span", {}, one.id || "no id"), h("code", {}, `mira-stream dlq show ${one.place}`)),
  ));
  put("letters-body", h("div", { class: "card" }, reasons), h("div", { class: "card list", tabindex: "0", role: "region", "aria-label": "Newest dead letters" }, h("ol", {}, newest)));
}

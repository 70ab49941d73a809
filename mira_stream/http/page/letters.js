import { empty, h, meter, put } from "./dom.js";
import { count, day } from "./format.js";

let shown = "";

export function letters(snapshot) {
  const now = JSON.stringify([snapshot.dead_counts, snapshot.dead_newest, snapshot.dead_read, snapshot.dead_earlier > 0]);
  if (now === shown) return; // the list keeps its place
  shown = now;
  if (!snapshot.dead_counts.length) {
    put("letters-body", empty(snapshot.dead_read ? "None: every document so far could be judged." : "Not read yet: the log does not answer, see the notes above."));
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
  const earlier = snapshot.dead_earlier > 0 ? h("p", { class: "quiet" }, "Of the newest only. All: ", h("code", {}, "mira-stream dlq list")) : "";
  put("letters-body", h("div", { class: "card" }, reasons, earlier), h("div", { class: "card list", tabindex: "0", role: "region", "aria-label": "Newest dead letters" }, h("ol", {}, newest)));
}

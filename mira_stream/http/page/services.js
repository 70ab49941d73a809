import { empty, h, put } from "./dom.js";
import { clock, count } from "./format.js";

const STANDS = { runs: "runs again", waits: "waits to be started again", given_up: "is given up" };

// Who died under `up`: also what has no metrics of its own, such as the broker.
function died(one) {
  return h(
    "div", { class: `card ${one.state === "runs" ? "busy" : "down"}`, "data-kept": one.name },
    h("div", { class: "row" }, h("b", {}, one.name), h("span", { class: "state" }, STANDS[one.state])),
    h("p", { class: "quiet" }, `started again ${one.restarts === 1 ? "once" : `${count(one.restarts)} times`}, died last at ${clock(one.died_ms)}: ${one.why}`),
  );
}

export function services(snapshot) {
  put("notes", snapshot.notes.map((note) => h("li", {}, note)));
  const deaths = snapshot.kept.filter((one) => one.news).map(died);
  if (!snapshot.services.length) {
    put("services-body", ...deaths, empty("No service is known. Start them: `mira-stream up --project DIR`; or name each one: `--service score=http://HOST:PORT`"));
    return;
  }
  put("services-body", [...deaths, ...snapshot.services.map((one) => h(
    "div", { class: `card ${one.answers ? "free" : "down"}` },
    h("div", { class: "row" }, h("b", {}, one.name), h("span", { class: "state" }, one.answers ? "answers" : "does not answer")),
    h("p", { class: "quiet" }, one.answers ? one.url : `${one.url}: ${one.error}`),
  ))]);
}

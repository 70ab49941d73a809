import { empty, h, put } from "./dom.js";

export function services(snapshot) {
  put("notes", snapshot.notes.map((note) => h("li", {}, note)));
  if (!snapshot.services.length) {
    put("services-body", empty("No service is known. Start them: `mira-stream up --project DIR`; or name each one: `--service score=http://HOST:PORT`"));
    return;
  }
  put("services-body", snapshot.services.map((one) => h(
    "div", { class: `card ${one.answers ? "free" : "down"}` },
    h("div", { class: "row" }, h("b", {}, one.name), h("span", { class: "state" }, one.answers ? "answers" : "does not answer")),
    h("p", { class: "quiet" }, one.answers ? one.url : `${one.url}: ${one.error}`),
  )));
}

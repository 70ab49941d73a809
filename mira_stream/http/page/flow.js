import { byId, h, meter, put } from "./dom.js";
import { count, percent, rate, since, span } from "./format.js";

const WORDS = { free: "flows", busy: "busy", full: "full", down: "down", unknown: "not seen" };
const TOPICS = new Set(["documents", "scores"]);

let announced = "";

// Read out once a change, not with every look.
function announce(words) {
  if (words !== announced) byId("announce").textContent = announced = words;
}

export function headline(snapshot) {
  const line = byId("headline");
  if (snapshot.broker.answers === false) {
    const begins = since(snapshot.broker, snapshot);
    announce("the broker is away");
    line.className = "headline down";
    put("headline", h("span", { class: "at" }, "broker"), ` is away${begins ? ` ${begins}` : ""}`);
    put("why", `${sentence(snapshot.broker.error.cause)} ${sentence(snapshot.broker.error.fix)}`);
    return;
  }
  const stage = snapshot.stages.find((one) => one.bottleneck);
  if (!stage && snapshot.held.length) {
    announce("a transaction does not end");
    line.className = "headline full";
    put("headline", "A transaction does not end");
    put("why", sentence(snapshot.held[0]));
    return;
  }
  const unseen = snapshot.stages.filter((one) => one.state === "unknown").map((one) => one.name);
  announce(stage ? `${stage.name} is ${stage.state}` : unseen.length ? `not seen: ${unseen.join(", ")}` : "no stage is full");
  line.className = `headline ${stage ? stage.state : ""}`;
  if (!stage) {
    const some = unseen.length < snapshot.stages.length;
    put("headline", !unseen.length ? "Everything flows" : some ? `Not seen: ${unseen.join(", ")}` : "Nothing to see yet");
    put("why", !unseen.length ? "No stage is full." : some ? "None of the others is full; these may stand, or are not running."
      : "No service answers and the log says nothing: what to do is below.");
    return;
  }
  const begins = since(stage, snapshot);
  const verb = stage.state === "down" ? "is down" : "is full";
  put("headline", h("span", { class: "at" }, stage.name), ` ${verb}${begins ? ` ${begins}` : ""}`);
  const behind = snapshot.stages.slice(0, snapshot.stages.indexOf(stage)).filter((one) => one.state === "full");
  const others = behind.length ? ` Before it, full for that reason: ${behind.map((one) => one.name).join(", ")}.` : "";
  put("why", `${sentence(stage.cause)}${others}`);
}

export function stages(snapshot) {
  put("stages", snapshot.stages.map((stage) => card(stage, snapshot)));
}

function card(stage, snapshot) {
  const topic = TOPICS.has(stage.name);
  const classes = `stage ${stage.state}${topic ? " topic" : ""}${stage.bottleneck ? " narrow" : ""}`;
  const begins = stage.state === "full" || stage.state === "down" ? since(stage, snapshot) : "";
  return h(
    "li", { class: classes, "data-stage": stage.name },
    h("header", {}, h("h3", {}, stage.name), h("span", { class: "state" }, WORDS[stage.state])),
    topic ? waiting(stage) : filled(stage),
    h("dl", { class: "rates" }, h("dt", {}, "in"), h("dd", {}, rate(stage.rate_in)), h("dt", {}, "out"), h("dd", {}, rate(stage.rate_out))),
    h(
      "div", { class: "words" },
      stage.bottleneck ? h("span", { class: "badge" }, "bottleneck") : null,
      stage.cause ? h("p", { class: "cause" }, sentence(stage.cause)) : null,
      begins ? h("p", { class: "since" }, begins) : null,
    ),
  );
}

function filled(stage) {
  const words = stage.fill === null ? "no limit known" : "of its limit";
  return h("div", {}, h("p", { class: "fill" }, percent(stage.fill), h("small", {}, words)), meter(stage.fill, `${stage.name}: ${percent(stage.fill)} full`));
}

// A topic has room for as long as its retention lasts; what counts is how many records wait, and how long.
function waiting(stage) {
  const age = stage.backlog ? `wait, oldest ${span(stage.backlog_s)}` : "wait";
  const used = stage.fill === null ? "" : `, ${percent(stage.fill)} of its retention used`;
  return h("div", {}, h("p", { class: "fill" }, count(stage.backlog), h("small", {}, age)), meter(stage.fill, `${stage.name}: ${count(stage.backlog)} records wait${used}`));
}

function sentence(words) {
  if (!words) return "";
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

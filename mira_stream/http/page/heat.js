import { byId, empty, h, put } from "./dom.js";

let shown = "";

export function heat(snapshot) {
  const now = JSON.stringify(snapshot.reliability);
  if (now === shown) return; // a cell keeps the focus
  shown = now;
  if (!snapshot.reliability.length) {
    put("heat", empty("No group has a reliability table. Measure its student: `mira-stream reliability --group G`"));
    return;
  }
  const slots = snapshot.reliability[0].cells.map((cell) => cell.slot);
  const head = h("tr", {}, h("th", { scope: "col" }, "source"), slots.map((slot) => h("th", { scope: "col" }, slot)));
  const rows = snapshot.reliability.map((row) => h("tr", {}, h("th", { scope: "row", title: row.source }, row.source), row.cells.map((cell) => one(row, cell))));
  const table = h("table", { class: "heat", "aria-describedby": "heat-detail" }, h("caption", { class: "quiet" }, "MAE in points of 10: what the student's score is off by"), h("thead", {}, head), h("tbody", {}, rows));
  put("heat", table);
  table.querySelector("td")?.setAttribute("tabindex", "0");
  table.addEventListener("keydown", move);
  table.addEventListener("focusin", (event) => say(event.target));
  table.addEventListener("mouseover", (event) => say(event.target));
}

function one(row, cell) {
  const masked = row.in_force && !cell.used;
  const words = `${row.source} ${cell.slot}: ${cell.verdict.replace("_", " ")}, MAE ${cell.mae.toFixed(2)}, rho ${cell.rho === null ? "undefined" : cell.rho.toFixed(2)}` +
    `${row.own ? "" : " (its group's)"}; ${row.in_force ? (cell.used ? "used" : "masked") : "no mask in force yet"}`;
  return h("td", { class: masked ? "masked" : `h${level(cell.mae)}`, tabindex: "-1", "data-words": words }, cell.mae.toFixed(2), h("span", { hidden: "" }, words));
}

const level = (mae) => [0.5, 0.65, 0.8, 0.95, 1.2].filter((mark) => mae >= mark).length;

function say(target) {
  const words = target.closest?.("td")?.dataset.words;
  if (words) byId("heat-detail").textContent = words;
}

function move(event) {
  const cell = event.target.closest("td");
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!cell || !steps) return;
  const rows = [...cell.closest("tbody").rows];
  const next = rows[rows.indexOf(cell.parentElement) + steps[0]]?.cells[cell.cellIndex + steps[1]];
  if (next?.tagName !== "TD") return;
  event.preventDefault();
  cell.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}

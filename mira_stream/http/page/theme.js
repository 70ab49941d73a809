import { byId } from "./dom.js";

const KEY = "mira-theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");

// Follows the system until somebody presses the button.
export function theme() {
  const chosen = localStorage.getItem(KEY);
  if (chosen) document.documentElement.dataset.theme = chosen;
  name();
  system.addEventListener("change", name);
  byId("theme").addEventListener("click", () => {
    const next = now() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem(KEY, next);
    name();
  });
}

const now = () => document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
const name = () => { byId("theme").textContent = now() === "dark" ? "Light" : "Dark"; };

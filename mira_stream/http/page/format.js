export function rate(value) {
  if (value === null || value === undefined) return "–";
  return `${value >= 100 ? Math.round(value) : value.toFixed(1)}/s`;
}

export function percent(share, digits = 0) {
  return share === null || share === undefined ? "–" : `${(share * 100).toFixed(digits)} %`;
}

export function count(value) {
  return value === null || value === undefined ? "–" : value.toLocaleString("en");
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} days`;
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}

export function day(ms) {
  return new Date(ms).toLocaleString("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

// How long ago the newest Snapshot was made, by this machine's clock: what it differs from the other machine's by is the
// least that any Snapshot seemed old.
const STALE_MS = 3000;
let offset_ms = Infinity;

export function aged(snapshot) {
  offset_ms = Math.min(offset_ms, Date.now() - snapshot.at_ms);
  return Date.now() - snapshot.at_ms - offset_ms;
}

export const stale = (snapshot) => aged(snapshot) > STALE_MS;

// Since when, or since before anybody looked.
export function since(stage, snapshot) {
  if (stage.since_ms === null) return "";
  if (stage.since_ms <= snapshot.looking_since_ms) return `since before ${clock(stage.since_ms)}`;
  return `since ${clock(stage.since_ms)} (${span((snapshot.at_ms + aged(snapshot) - stage.since_ms) / 1000)})`;
}

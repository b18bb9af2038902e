"use strict";
// Shows /status.json and asks for it again and again. Whatever comes from there is text, never HTML.

const POLL_MS = 5000;
const HIDDEN_POLL_MS = 60000;
const TIMEOUT_MS = 10000;
// Not relative: a browser refuses to fetch where the address of the page has credentials in it.
const FOLDER = location.origin + location.pathname.replace(/[^/]*$/, "");
// The freshness objective (docs/monitoring.md).
const LAG_LIMIT_SECONDS = 180;
const SVG = "http://www.w3.org/2000/svg";
const STATES = {
  proven: "loaded and compared with the source",
  loaded: "loaded",
  open: "being extracted or loaded",
  backlog: "backlog, not extracted yet",
  waits: "cannot be extracted at present, and waits",
  gap: "a gap: the source had deleted it",
  differs: "differs from the source",
  nothing: "nothing planned",
};
const PLOTS = [
  {title: "Samples per second", columns: {extracted_per_second: "extracted", loaded_per_second: "loaded"}, unit: ""},
  {title: "Lag: age of what is loaded (hot)", columns: {lag_seconds: "lag"}, unit: "s", limit: LAG_LIMIT_SECONDS},
  {title: "Sink: mean duration of a post", columns: {sink_seconds: "post"}, unit: "s"},
  {title: "Samples in flight", columns: {in_flight_samples: "in flight"}, unit: ""},
];

const byId = (id) => document.getElementById(id);
const shown = new Map();
let history = [];
let columns = [];
let heard = null;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function svg(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Replace what stands there only where it differs: a focus or a selection stays.
function fill(id, content, make) {
  const text = JSON.stringify(content);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  byId(id).replaceChildren(...make(content));
}

function show(id, visible) {
  byId(id).hidden = !visible;
}

const count = (n) => (n === null || n === undefined ? "–" : Math.round(n).toLocaleString("en"));

function figure(n) {
  if (n === null || n === undefined) return "–";
  if (Math.abs(n) >= 1000) return Math.round(n).toLocaleString("en");
  return String(Number(n.toPrecision(3)));
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return seconds === 0 ? "0 s" : `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 120) return `${Number(seconds.toPrecision(3))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Number((seconds / 3600).toPrecision(3))} h`;
  return `${Number((seconds / 86400).toPrecision(3))} d`;
}

const time = (ms) => (ms === null || ms === undefined ? "–" : new Date(ms).toISOString().replace(/\.\d+Z$/, "Z"));
const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 16);

function link(url, text) {
  const made = element("a", text);
  made.href = url;
  made.rel = "noreferrer";
  return made;
}

// A table of rows; a cell is a text, or {text, kind} with a class.
function table(id, heads, rows) {
  fill(id, {heads, rows}, () => {
    const head = element("tr");
    heads.forEach((one) => {
      const cell = element("th", one.text || one, one.kind);
      cell.scope = "col";
      head.append(cell);
    });
    const body = element("tbody");
    for (const row of rows) {
      const line = element("tr");
      row.forEach((one, index) => {
        const cell = element(index ? "td" : "th", typeof one === "object" ? one.text : one, one.kind);
        if (!index) cell.scope = "row";
        line.append(cell);
      });
      body.append(line);
    }
    const made = element("thead");
    made.append(head);
    return [made, body];
  });
}

function figures(id, pairs) {
  fill(id, pairs, () => pairs.map(([name, value, kind]) => {
    const box = element("div");
    box.append(element("dt", name), element("dd", value, kind));
    return box;
  }));
}

function showFindings(part) {
  const found = [...part.findings, ...part.remarks.map((detail) => ({detail, remark: true}))];
  show("findings-section", found.length > 0);
  byId("findings-title").textContent = part.verdict === "cannot_tell" ? "What cannot be told" : part.findings.length ? "What needs a person" : "Remarks";
  fill("findings", found, () => found.map((one) => {
    const item = element("li", `${one.detail} `, one.remark ? "remark" : "");
    if (one.runbook) {
      const {section, url} = one.runbook;
      item.append(url ? link(url, `Runbook: ${section}`) : element("span", `Runbook: docs/runbook.md, ${section}`, "quiet"));
    }
    return item;
  }));
}

function showPipeline(status) {
  for (const id of ["stages", "ledger", "dead", "feeds", "coverage"]) show(`${id}-section`, Boolean(status));
  if (!status) {
    for (const id of ["gaps", "backfills"]) show(`${id}-section`, false);
    return;
  }
  table("stages", ["stage", "ready", "samples/s", "mean batch", {text: "what is wrong", kind: "text"}], status.stages.map((one) => {
    const wrong = one.workers.flatMap((worker) => Object.entries(worker.failing).map(([check, why]) => `${worker.worker}: ${check}: ${why}`));
    const well = one.replicas > 0 && one.ready === one.replicas;
    return [one.stage, {text: `${one.ready} of ${one.replicas}`, kind: well ? "good" : "bad"}, figure(one.samples_per_second), duration(one.batch_seconds),
      {text: one.replicas ? wrong.join("; ") || (well ? "" : "not ready") : "none runs", kind: "text"}];
  }));
  const ledger = status.ledger;
  const dropped = Object.values(ledger.dropped).reduce((sum, n) => sum + n, 0);
  figures("ledger", [
    ["extracted", count(ledger.extracted)], ["loaded", count(ledger.loaded)], ["dropped", count(dropped)],
    ["dead-lettered", count(ledger.dead_lettered)], ["in flight", count(ledger.in_flight)],
    ["not accounted for", count(ledger.imbalance), ledger.imbalance ? "bad" : "good"],
    ["lag (hot)", duration(status.lag_seconds), status.lag_seconds > LAG_LIMIT_SECONDS ? "bad" : ""],
    ...Object.entries(status.streams).map(([name, one]) => [`stream ${name}`, `${count(one.entries)} entries, oldest ${duration(one.oldest_seconds)}`]),
    ["extraction", status.back_pressure ? "paused: too much in flight" : "goes on", status.back_pressure ? "bad" : ""],
  ]);
  const reasons = Object.entries(ledger.dropped).sort().map(([why, n]) => `${why} ${count(n)}`);
  byId("dropped").textContent = reasons.length ? `Dropped: ${reasons.join(", ")}.` : "";
  const dead = status.dead_letters;
  byId("dead-share").textContent = `${count(dead.kept)} kept${dead.max ? ` of ${count(dead.max)} that may be` : ""}.`;
  table("dead", ["stage", {text: "reason", kind: "text"}, "entries", "samples"], dead.reasons.map((one) => [one.stage, {text: one.reason, kind: "text"}, count(one.entries), count(one.samples)]));
  byId("dead").hidden = dead.reasons.length === 0;
  table("feeds", ["query", "tier", "loaded up to", "lag", "backlog", "open", "unsettled", "gaps", "failures", "verified up to"], status.feeds.map((one) => [
    one.query, one.tier, one.loaded_up_to_ms === null ? "sink not read yet" : time(one.loaded_up_to_ms), duration(one.lag_seconds), duration(one.backlog_seconds),
    count(one.open), count(one.unsettled), {text: count(one.gaps), kind: one.gaps ? "bad" : ""}, {text: count(one.failures), kind: one.failures > 2 ? "bad" : ""}, time(one.proven_up_to_ms)]));
  showCoverage(status.feeds.filter((one) => one.coverage));
  show("gaps-section", status.gaps.length > 0);
  table("gaps", ["query", "after", "up to", {text: "reason", kind: "text"}], status.gaps.map((one) => [one.feed, time(one.start_ms), time(one.end_ms), {text: one.reason, kind: "text"}]));
  show("backfills-section", status.backfills.length > 0);
  table("backfills", ["id", "state", "from", "to", "done", "samples"], status.backfills.map((one) => [one.id, one.state, time(one.from_ms), time(one.to_ms),
    `${Math.floor(100 * (1 - one.coming_seconds / Math.max(1, one.total_seconds)))} %`, count(one.samples)]));
}

function showCoverage(feeds) {
  show("coverage-section", feeds.length > 0);
  if (!feeds.length) return;
  const {from_ms, to_ms} = feeds[0].coverage;
  byId("coverage-range").textContent = `${time(from_ms)} to ${time(to_ms)}; of what lies within a hundredth of that, the worst is shown.`;
  const content = feeds.map((one) => ({name: `${one.query}@${one.tier}`, ...one.coverage}));
  fill("coverage", content.map(({name, strip, seconds}) => ({name, strip, said: said(seconds)})), (rows) => rows.flatMap(({name, strip, said}) => {
    const drawn = svg("svg", {viewBox: "0 0 100 1", preserveAspectRatio: "none", role: "img", "aria-label": `${name}: ${said}`});
    let left = 0;
    for (const [state, cells] of strip) {
      const cell = svg("rect", {x: left, y: 0, width: cells, height: 1, class: `s-${state}`});
      cell.append(svg("title", {}, STATES[state]));
      drawn.append(cell);
      left += cells;
    }
    return [element("span", name), drawn, element("p", said, "said quiet")];
  }));
  const used = new Set(content.flatMap(({strip}) => strip.map(([state]) => state)));
  fill("legend", Object.keys(STATES).filter((state) => used.has(state)), (names) => names.map((state) => {
    const item = element("li");
    const box = svg("svg", {viewBox: "0 0 1 1", "aria-hidden": "true"});
    box.append(svg("rect", {width: 1, height: 1, class: `s-${state}`}));
    item.append(box, STATES[state]);
    return item;
  }));
}

function said(seconds) {
  const gaps = seconds.gap ? `, gaps ${duration(seconds.gap)}` : "";
  return `loaded ${duration(seconds.loaded)} of ${duration(seconds.planned)}, compared ${duration(seconds.proven)}${gaps}`;
}

function showProcess(part) {
  show("process-section", Boolean(part));
  if (!part) return;
  byId("process-said").textContent = part.first_line;
  const status = part.status;
  figures("process", !status ? [] : [
    ["healthy", status.healthy ? "yes" : "no", status.healthy ? "good" : "bad"], ["records", count(status.records)], ["records/s", figure(status.records_per_second)],
    ["files", count(status.files)], ["failures", count(status.failures)], ["mean file", duration(status.file_seconds)],
    ["last success", `${duration(status.seconds_since_last_success)} ago`], ["up for", duration(status.uptime_seconds)],
  ]);
}

function takeHistory(part) {
  columns = part.columns;
  const rows = part.rows;
  if (rows.length) history = history.filter(([at]) => at < rows[0][0]).concat(rows);
  const oldest = history.length ? history[history.length - 1][0] - part.kept_seconds : 0;
  history = history.filter(([at]) => at > oldest);
  show("plots-section", history.length > 1);
  if (history.length > 1) PLOTS.forEach((plot) => draw(plot, part.step_seconds));
}

const WIDTH = 360, HEIGHT = 130, LEFT = 44, RIGHT = 6, TOP = 8, BOTTOM = 20;

// The figure of a plot, made once; what is drawn into it changes.
function frame(plot) {
  if (plot.figure) return plot.figure;
  const made = plot.figure = element("figure");
  plot.image = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: "0"});
  plot.read = element("p", "", "read");
  made.append(element("figcaption", plot.title), plot.image, plot.read);
  const at = (event) => {
    const box = plot.image.getBoundingClientRect();
    return (event.clientX - box.left) / box.width * WIDTH;
  };
  plot.image.addEventListener("pointermove", (event) => point(plot, nearest(plot, at(event))));
  plot.image.addEventListener("pointerleave", () => point(plot, null));
  plot.image.addEventListener("blur", () => point(plot, null));
  plot.image.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -1e6, End: 1e6}[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const from = plot.pointed === null ? history.length - 1 : plot.pointed;
    point(plot, Math.min(history.length - 1, Math.max(0, from + step)));
  });
  byId("plots").append(made);
  return made;
}

function draw(plot, step) {
  frame(plot);
  const names = Object.keys(plot.columns);
  const places = names.map((name) => 1 + columns.indexOf(name));
  const values = history.flatMap((row) => places.map((place) => row[place])).filter((one) => one !== null);
  const highest = Math.max(...values, 0);
  const top = roundUp(plot.limit && highest > plot.limit / 3 ? Math.max(highest, plot.limit) : highest);
  const first = history[0][0], last = history[history.length - 1][0];
  const x = plot.x = (at) => LEFT + (at - first) / Math.max(1, last - first) * (WIDTH - LEFT - RIGHT);
  const y = plot.y = (value) => HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
  const drawn = [];
  for (const share of [0, 0.5, 1]) {
    drawn.push(svg("line", {class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(top * share), y2: y(top * share)}));
    drawn.push(svg("text", {class: "axis", x: LEFT - 4, y: y(top * share) + 4, "text-anchor": "end"}, plot.unit ? duration(top * share) : short(top * share)));
  }
  drawn.push(svg("text", {class: "axis", x: LEFT, y: HEIGHT - 4}, `${clock(first)} UTC`));
  drawn.push(svg("text", {class: "axis", x: WIDTH - RIGHT, y: HEIGHT - 4, "text-anchor": "end"}, clock(last)));
  if (plot.limit && plot.limit <= top) drawn.push(svg("line", {class: "limit", x1: LEFT, x2: WIDTH - RIGHT, y1: y(plot.limit), y2: y(plot.limit)}));
  names.forEach((name, number) => {
    let path = "", before = null;
    for (const row of history) {
      const value = row[places[number]];
      // A hole is longer than readings are apart; nothing is drawn over it.
      if (value !== null) path += `${before !== null && row[0] - before <= 4 * step ? "L" : "M"}${x(row[0]).toFixed(1)} ${y(value).toFixed(1)}`;
      before = value === null ? null : row[0];
    }
    drawn.push(svg("path", {class: `curve ${number ? "second" : "first"}`, d: path}));
  });
  plot.marks = svg("g", {});
  plot.image.replaceChildren(...drawn, plot.marks);
  plot.places = places;
  point(plot, plot.pointed === undefined || plot.pointed === null ? null : Math.min(plot.pointed, history.length - 1));
}

function nearest(plot, x) {
  let best = 0;
  history.forEach(([at], index) => {
    if (Math.abs(plot.x(at) - x) < Math.abs(plot.x(history[best][0]) - x)) best = index;
  });
  return best;
}

// Read the values at one time, or the latest ones.
function point(plot, index) {
  plot.pointed = index;
  const row = history[index === null ? history.length - 1 : index];
  const texts = Object.values(plot.columns).map((name, number) => `${name} ${plot.unit ? duration(row[plot.places[number]]) : figure(row[plot.places[number]])}`);
  plot.read.textContent = `${index === null ? "now" : `${clock(row[0])} UTC`}: ${texts.join(", ")}`;
  plot.image.setAttribute("aria-label", `${plot.title}. ${plot.read.textContent}. Arrow keys read other times.`);
  const marks = [];
  if (index !== null) {
    marks.push(svg("line", {class: "cursor", x1: plot.x(row[0]), x2: plot.x(row[0]), y1: TOP, y2: HEIGHT - BOTTOM}));
    plot.places.forEach((place, number) => {
      if (row[place] !== null) marks.push(svg("circle", {class: `dot ${number ? "second" : "first"}`, cx: plot.x(row[0]), cy: plot.y(row[place]), r: 3}));
    });
  }
  plot.marks.replaceChildren(...marks);
}

function roundUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((one) => one >= value * 0.9999);
}

function short(value) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (value >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  return String(Number(value.toPrecision(2)));
}

function render(found) {
  heard = Date.now();
  const part = found.pipeline || found.process;
  const verdict = byId("verdict");
  if (verdict.textContent !== found.first_line) verdict.textContent = found.first_line;
  verdict.className = `verdict ${found.verdict}`;
  document.title = `${{well: "✓", needs_person: "✗", cannot_tell: "?"}[found.verdict]} etl status`;
  byId("when").textContent = found.pipeline ? `Redis was read ${duration(found.pipeline.reading_age_seconds)} ago, at ${time((found.server_seconds - found.pipeline.reading_age_seconds) * 1000)}; this page asks every ${POLL_MS / 1000} s.` : `Asked at ${time(found.server_seconds * 1000)}; this page asks every ${POLL_MS / 1000} s.`;
  showFindings(part);
  if (found.pipeline) takeHistory(found.pipeline.history);
  showPipeline(found.pipeline && found.pipeline.status);
  showProcess(found.process);
  byId("version").textContent = found.version;
  fill("alerts", [found.grafana_url, found.runbook_url], ([grafana, runbook]) => {
    const parts = ["Alerts are evaluated by Prometheus and Grafana and are not seen here; what is listed above is what lies behind them. "];
    if (grafana) parts.push(link(`${grafana.replace(/\/$/, "")}/alerting/list`, "Alerts in Grafana"), " · ");
    if (runbook) parts.push(link(runbook, "Runbook"));
    return parts.map((one) => (typeof one === "string" ? document.createTextNode(one) : one));
  });
}

function connection(text) {
  const banner = byId("connection");
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !text;
  document.body.classList.toggle("stale", Boolean(text));
  if (text) document.title = "? etl status";
}

async function ask() {
  const after = history.length ? history[history.length - 1][0] : 0;
  try {
    const response = await fetch(`${FOLDER}status.json?after=${after}`, {signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store"});
    if (response.status === 401) throw new Error("it asks for user and password again: reload this page");
    if (!response.ok) throw new Error(`it responds with ${response.status}`);
    render(await response.json());
    connection("");
  } catch (error) {
    const since = heard === null ? "" : ` What is below is of ${time(heard)}, and may not be true any more.`;
    connection(`etl-metrics cannot be reached: ${error.name === "TimeoutError" ? "it does not respond" : error.message}.${since}`);
  }
}

let waiting = null;
async function loop() {
  clearTimeout(waiting);
  await ask();
  waiting = setTimeout(loop, document.hidden ? HIDDEN_POLL_MS : POLL_MS);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) loop(); });
loop();

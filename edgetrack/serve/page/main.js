// Wires the parts of the page together.

import { get, post, upload } from "/page/api.js";
import { connect } from "/page/live.js";
import { el, fill, showNumbers, showStatus } from "/page/panels.js";
import { Screen } from "/page/screen.js";
import { Thresholds } from "/page/thresholds.js";
import { Timeline } from "/page/timeline.js";

const BOX = ["box-x", "box-y", "box-w", "box-h"];
let status = { phase: "empty", model: null, source: null, run: null, busy: "", settings: {} };
let choices = null;
let pack = null;
let drawnOn = null;
let shownError = "";

function fail(error) {
  el("error-text").textContent = error.message;
  el("error").hidden = false;
}

// Runs an action of a control; what goes wrong is shown in one line.
async function attempt(action) {
  el("error").hidden = true;
  try {
    return await action();
  } catch (error) {
    fail(error);
    return undefined;
  }
}

const on = (id, action, event = "click") => el(id).addEventListener(event, (cause) => attempt(() => action(cause)));

const screen = new Screen({
  onDraw: (box) => {
    BOX.forEach((id, index) => (el(id).value = box ? box[index] : ""));
    if (!box) drawnOn = null;
  },
  onPin: (frame) => {
    drawnOn = frame;
    attempt(() => post("pin", { frame }));
  },
});
const thresholds = new Thresholds((values) => attempt(() => post("thresholds", { values })));
const timeline = new Timeline((frame) => attempt(() => post("seek", { frame })));

// Model.

async function refresh() {
  choices = await get("/api/choices");
  fill(el("artifact"), choices.artifacts.map((a) => [a.id, a.trouble ? `${a.name}: damaged` : `${a.name} (${a.mib} MiB)`, a.trouble]));
  if (!choices.artifacts.length) fill(el("artifact"), [["", "none here; start again as: edgetrack serve ARTIFACT", true]]);
  fill(el("media"), choices.media.map((m) => [m.path, m.label]));
  fill(el("format"), choices.formats.map((f) => [f, f]), el("format").value || "csv");
  el("camera").disabled = !choices.cameras;
  el("camera-off").hidden = choices.cameras;
  el("url").disabled = !choices.streams;
  el("stream-off").hidden = choices.streams;
  el("upload-limit").textContent = `At most ${Math.round(choices.max_upload_bytes / 2 ** 20)} MiB; removed when the server stops.`;
  showEngines();
  showStatus(status);
}

function showEngines() {
  const artifact = choices.artifacts.find((a) => a.id === el("artifact").value);
  const asBuilt = `as built${artifact?.engine ? `: ${artifact.engine}` : ""}`;
  const engines = choices.engines.map((e) => [e.name, e.version ? `${e.name} ${e.version}` : `${e.name} (not installed)`, !e.version]);
  fill(el("engine"), [["", asBuilt], ...engines], el("engine").value || choices.engine || "");
  showDevices();
}

function showDevices() {
  const artifact = choices.artifacts.find((a) => a.id === el("artifact").value);
  const engine = choices.engines.find((e) => e.name === (el("engine").value || artifact?.engine));
  const asBuilt = `as built${artifact?.device ? `: ${artifact.device}` : ""}`;
  const devices = (engine?.devices ?? []).map((d) => [d, d]);
  fill(el("device"), [["auto", asBuilt], ...devices], el("device").value || choices.device);
}

on("refresh", refresh);
on("artifact", showEngines, "change");
on("engine", showDevices, "change");
on("load", () => post("load", { artifact: el("artifact").value, engine: el("engine").value || null, device: el("device").value }));

// Source.

async function open(what) {
  screen.clear();
  await post("open", what);
}

for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-tab]")) {
      other.setAttribute("aria-selected", String(other === tab));
      el(`tab-${other.dataset.tab}`).hidden = other !== tab;
    }
  });
}

async function sendVideo(file) {
  if (!file) return;
  if (file.size > choices.max_upload_bytes) {
    throw new Error(`${file.name} has ${Math.ceil(file.size / 2 ** 20)} MiB; at most ${choices.max_upload_bytes / 2 ** 20} may be sent`);
  }
  el("sent").hidden = false;
  try {
    const { id } = await upload("video", file, (part) => (el("sent").value = part));
    await open({ upload: id });
  } finally {
    el("sent").hidden = true;
    el("file").value = "";
  }
}

on("open-media", () => open({ media: el("media").value }));
on("open-camera", () => open({ camera: Number(el("camera").value) }));
on("open-stream", () => open({ stream: el("url").value.trim() }));
on("close-source", () => post("close"));
on("file", () => sendVideo(el("file").files[0]), "change");
el("drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  el("drop").classList.add("over");
});
el("drop").addEventListener("dragleave", () => el("drop").classList.remove("over"));
on("drop", (event) => {
  event.preventDefault();
  el("drop").classList.remove("over");
  return sendVideo(event.dataTransfer.files[0]);
}, "drop");

// Target.

function typedBox() {
  const numbers = BOX.map((id) => el(id).value);
  if (numbers.every((value) => value === "")) return null;
  if (numbers.some((value) => value === "")) throw new Error("the box is not complete: give x, y, w and h, or clear it");
  return numbers.map(Number);
}

function target() {
  const found = {};
  const box = typedBox();
  if (box) found.box = box;
  if (box && drawnOn !== null) found.frame = drawnOn;
  const text = el("text").value.trim();
  if (status.model?.reads_text && pack) found.pack = pack;
  else if (status.model?.reads_text && text) found.text = text;
  return found;
}

async function aim(command, more = {}) {
  const result = await post(command, { ...target(), ...more });
  screen.clear();
  return result;
}

for (const id of BOX) on(id, () => screen.setBox(BOX.every((other) => el(other).value !== "") ? typedBox() : null), "input");
on("clear", () => screen.clear());
on("start", () => aim("start", { record: el("record").checked }));
on("switch", () => aim("switch"));
on("locate", async () => {
  const { box, score, state } = await post("locate", target());
  screen.release();
  BOX.forEach((id, index) => (el(id).value = Math.round(box[index] * 10) / 10));
  screen.setBox(box);
  el("target-hint").textContent = `Found with score ${score.toFixed(3)} (${state}).`;
});
on("text", () => {
  pack = null;
  el("pack").value = "";
  el("pack-facts").textContent = "";
}, "input");
on("pack", async () => {
  const [file] = el("pack").files;
  pack = null;
  el("pack-facts").textContent = "";
  if (!file) return;
  try {
    if (file.size > choices.max_pack_bytes) throw new Error(`${file.name} is too large for a target pack`);
    const sent = await upload("pack", file);
    pack = sent.id;
    el("text").value = "";
    el("pack-facts").textContent = `“${sent.text}”, made for ${sent.variant}`;
  } catch (error) {
    el("pack").value = "";
    throw error;
  }
}, "change");

// Run.

for (const command of ["pause", "resume", "step", "stop", "restart"]) on(command, () => post(command));
on("rewind", () => post("seek", { frame: 0 }));
on("seek", () => post("seek", { frame: Number(el("seek").value) }), "change");
el("seek").addEventListener("input", () => (el("seek-at").textContent = el("seek").value));
on("pace", () => post("settings", { pace: el("pace").value }), "change");
on("every", () => post("settings", { every: Number(el("every").value) }), "change");
on("as-exported", () => post("thresholds", { values: thresholds.exported }));
on("show-box", () => ((screen.showBox = el("show-box").checked), screen.redraw()), "change");
on("show-raw", () => ((screen.showRaw = el("show-raw").checked), screen.redraw()), "change");
on("format", () => el("boxes").setAttribute("href", `/api/boxes?format=${el("format").value}`), "change");
el("error-close").addEventListener("click", () => (el("error").hidden = true));

document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT", "BUTTON", "A"].includes(event.target.tagName);
  if (event.key === "Escape") screen.clear();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const commands = { " ": status.phase === "paused" ? "resume" : "pause", ".": "step" };
  const command = commands[event.key];
  if (!command || el(command).disabled) return;
  event.preventDefault();
  attempt(() => post(command));
});

connect({
  onStatus: (next) => {
    if (next.error && next.error !== shownError) fail(new Error(next.error));
    shownError = next.error;
    if (status.source && !next.source) screen.empty();
    status = next;
    timeline.setCount(next.source?.count ?? null);
    el("plot-hint").textContent = next.source?.count ? "click to go to a frame" : "";
    if (document.activeElement !== el("pace")) el("pace").value = next.settings.pace;
    if (document.activeElement !== el("every")) el("every").value = next.settings.every;
    thresholds.show(next.model, next.thresholds);
    showStatus(next);
  },
  onPicture: (header, bitmap) => {
    screen.show(header, bitmap);
    if (screen.holding) screen.held.hidden = status.phase !== "running" && !status.source?.live;
    showNumbers(header, status.source?.count);
    timeline.add(header.points, header.frame);
    if (document.activeElement !== el("seek")) {
      el("seek").value = header.frame;
      el("seek-at").textContent = header.frame;
    }
  },
  onConnection: (up) => {
    el("connection").textContent = up ? "connected" : "not connected";
    el("connection").classList.toggle("off", !up);
    if (up) attempt(refresh);
  },
});
el("video").setAttribute("href", "/api/video");
el("boxes").setAttribute("href", `/api/boxes?format=${el("format").value || "csv"}`);

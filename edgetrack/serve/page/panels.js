// What the panels show of the status, and which controls can be used just now.

const ACTIVE = ["starting", "running", "paused"];
const OVER = ["ready", "ended", "failed"];

export const el = (id) => document.getElementById(id);

export function fill(select, entries, chosen) {
  const before = chosen ?? select.value;
  select.replaceChildren(...entries.map(([value, label, off]) => Object.assign(new Option(label, value), { disabled: !!off })));
  if (entries.some(([value]) => value === before)) select.value = before;
}

export function showStatus(status) {
  const { phase, model, source, run } = status;
  el("busy").textContent = atWork(status);
  el("step-model").classList.toggle("done", model !== null);
  el("step-source").classList.toggle("done", source !== null);
  el("step-run").classList.toggle("done", ACTIVE.includes(phase) || phase === "ended");
  showModel(model);
  showSource(source);
  showRun(status);
  showStages(status.stages_ms);
  enable(status);
  el("fps").textContent = status.fps === null ? "–" : status.fps.toFixed(1);
  el("text-part").hidden = !model?.reads_text;
  el("target-hint").textContent = hint(model, phase);
  document.body.dataset.phase = phase;
}

function atWork({ busy, phase, describing }) {
  if (busy) return `${busy} …`;
  if (describing) return `describing the target: ${describing} …`;
  return phase === "starting" ? "encoding the sentence …" : "";
}

export function showNumbers(header, count) {
  el("state").textContent = header.state ?? "–";
  el("state").dataset.state = header.state ?? "";
  el("score").textContent = header.score === undefined ? "–" : header.score.toFixed(3);
  el("frame").textContent = count ? `${header.frame} / ${count - 1}` : `${header.frame}`;
  el("box").textContent = header.box ? header.box.map((value) => value.toFixed(1)).join(", ") : "–";
  el("skipped").textContent = header.skipped;
  const rows = Object.entries(header.details).flatMap(([name, value]) => [
    Object.assign(document.createElement("dt"), { textContent: name.replaceAll("_", " ") }),
    Object.assign(document.createElement("dd"), { textContent: typeof value === "number" ? +value.toFixed(3) : String(value) }),
  ]);
  el("details").replaceChildren(...rows);
}

function showModel(model) {
  if (!model) {
    el("model-facts").textContent = "Nothing is loaded.";
    return;
  }
  const { engine, device, version } = model.engine;
  const describer = model.described_by && model.described_by !== model.name && !model.needs_pack ? `; targets are described by ${model.described_by}` : "";
  el("model-facts").textContent =
    `Loaded: ${model.name} (${model.variant}, ${model.precision}) on ${engine} ${version}, ${device}; verification: ${model.verification}${describer}`;
}

function showSource(source) {
  el("seek-part").hidden = !source || source.count === null;
  el("dropped-part").hidden = !source?.live;
  if (!source) {
    el("source-facts").textContent = "";
    return;
  }
  const rate = source.fps ? `, ${+source.fps.toFixed(2)} frames/s` : "";
  const length = source.count === null ? "" : `, ${source.count} frames`;
  const again = source.reconnects ? `; opened again ${source.reconnects}×` : "";
  const trouble = source.trouble ? `; ${source.trouble}` : "";
  el("source-facts").textContent = `${source.label}: ${source.width}×${source.height}${rate}${length}${again}${trouble}`;
  el("dropped").textContent = source.dropped;
  if (source.count !== null) el("seek").max = source.count - 1;
}

function showRun({ run, phase, error }) {
  const notes = [];
  if (run) {
    notes.push(`Run ${run.number}: ${run.frames} frames from frame ${run.first}`);
    if (run.text) notes.push(`“${run.text}”`);
    if (run.recording && ACTIVE.includes(phase)) notes.push("recording");
    if (run.full) notes.push("there is no room for the boxes of more frames");
    if (run.video_trouble) notes.push(run.video_trouble);
  }
  if (phase === "ended") notes.push("the video has ended");
  if (error) notes.push(`broke off: ${error}`);
  el("run-facts").textContent = notes.join("; ");
  el("boxes").classList.toggle("off", !run?.frames);
  el("video").classList.toggle("off", !run?.video);
}

function showStages(stages) {
  const entries = Object.entries(stages);
  const total = entries.reduce((sum, [, ms]) => sum + ms, 0);
  const row = (name, ms, kind) => {
    const tr = document.createElement("tr");
    tr.className = kind;
    for (const text of [name, ms.toFixed(2), ms > 0 ? (1000 / ms).toFixed(ms > 10 ? 1 : 0) : "–"]) tr.insertCell().textContent = text;
    const bar = tr.insertCell();
    bar.className = "bar";
    const inner = bar.appendChild(document.createElement("i"));
    inner.style.width = `${(100 * ms) / (total || 1)}%`;
    return tr;
  };
  const rows = entries.map(([name, ms]) => row(name, ms, ""));
  if (entries.length) rows.push(row("total", total, "total"));
  el("stages").tBodies[0].replaceChildren(...rows);
  el("stages-card").hidden = !entries.length;
}

function hint(model, phase) {
  if (!model) return "Load an artifact first.";
  if (["running", "paused"].includes(phase)) {
    return model.reads_text ? "Type another sentence or drag another box, then switch." : "Drag another box on the picture, then switch.";
  }
  if (model.needs_pack) {
    return "This artifact does not describe targets itself: drag a box, and choose a target pack that “edgetrack encode” made, or serve the artifact that describes too.";
  }
  if (!model.reads_text) return "Drag a box on the picture, then start.";
  if (!model.needs_box) return "Type a sentence (a box is not needed), then start.";
  return `Drag a box on the picture${model.needs_text ? " and type a sentence" : "; a sentence may help"}, then start.`;
}

function enable({ phase, model, source, run, busy }) {
  const idle = !ACTIVE.includes(phase) && !busy;
  const file = source && source.count !== null;
  const may = {
    load: idle, "open-media": idle, "open-camera": idle && !el("camera").disabled, "open-stream": idle && !el("url").disabled,
    file: idle, "close-source": idle && source, pause: phase === "running", resume: phase === "paused", step: phase === "paused",
    stop: ACTIVE.includes(phase), restart: run && file && phase !== "starting" && !busy, rewind: file && phase !== "starting",
    seek: file && phase !== "starting", start: model && OVER.includes(phase), switch: ["running", "paused"].includes(phase),
    record: !ACTIVE.includes(phase), pace: !source?.live, every: !source?.live,
    text: !model?.needs_pack,
    locate: model && OVER.includes(phase),
  };
  for (const [id, yes] of Object.entries(may)) el(id).disabled = !yes;
  el("pause").hidden = phase === "paused";
  el("resume").hidden = phase !== "paused";
  el("start").hidden = ["running", "paused"].includes(phase);
  el("switch").hidden = !el("start").hidden;
  el("locate").hidden = !model?.reads_text || model.needs_box;
}

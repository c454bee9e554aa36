// Sliders for what the tracker judges its boxes by; which there are, and their ranges, the server says.

import { el } from "/page/panels.js";

const MEANING = {
  tau: "Least confidence of a box that is trusted. If none is, the whole frame is searched next.",
  omega: "Weight of the remembered margin in the confidence.",
  lambda: "Weight of the past in what is remembered.",
  psi: "Largest overlap (IoU) at which two boxes count as different places.",
};
const STEP = 0.01;

export class Thresholds {
  #model = "";
  #sliders = new Map();

  // `onChange` is called with the values, by name, that a visitor set.
  constructor(onChange) {
    this.onChange = onChange;
    this.exported = {};
  }

  // Shows the values of the loaded model; a slider that is being moved is left alone.
  show(model, values) {
    const ranges = model?.thresholds ?? {};
    const key = JSON.stringify(ranges);
    if (key !== this.#model) this.#build(ranges);
    this.#model = key;
    for (const [name, slider] of this.#sliders) {
      if (document.activeElement === slider.input && slider.moving) continue;
      slider.input.value = values[name];
      slider.output.textContent = shown(values[name]);
    }
  }

  #build(ranges) {
    this.#sliders.clear();
    this.exported = Object.fromEntries(Object.entries(ranges).map(([name, range]) => [name, range.exported]));
    el("thresholds").hidden = !Object.keys(ranges).length;
    el("threshold-rows").replaceChildren(...Object.entries(ranges).map(([name, range]) => this.#row(name, range)));
  }

  #row(name, { least, most }) {
    const row = document.createElement("label");
    row.title = MEANING[name] ?? "";
    const title = Object.assign(document.createElement("span"), { textContent: name });
    const input = Object.assign(document.createElement("input"), { type: "range", min: least, max: most, step: STEP });
    input.id = `threshold-${name}`;
    const output = document.createElement("output");
    const slider = { input, output, moving: false };
    input.addEventListener("input", () => {
      slider.moving = true;
      output.textContent = shown(input.valueAsNumber);
    });
    input.addEventListener("change", () => {
      slider.moving = false;
      this.onChange({ [name]: input.valueAsNumber });
    });
    this.#sliders.set(name, slider);
    row.append(title, input, output);
    return row;
  }
}

function shown(value) {
  return Number(value).toFixed(2);
}

// The picture, the boxes over it, and drawing one with mouse, pen or finger.

const COLOURS = { TRACKING: "#00c878", UNCERTAIN: "#ffbe00", LOST: "#ff5a52" };
const DRAWN = "#5aa2ff";
const RAW = "#ffffffb0";
const LEAST_PX = 5;

export class Screen {
  constructor({ onDraw, onPin }) {
    this.root = document.getElementById("screen");
    this.picture = document.getElementById("picture");
    this.overlay = document.getElementById("overlay");
    this.held = document.getElementById("held");
    this.onDraw = onDraw;
    this.onPin = onPin;
    this.header = null;
    this.drawn = null;
    this.start = null;
    this.holding = false;
    this.showBox = true;
    this.showRaw = false;
    this.overlay.addEventListener("pointerdown", (event) => this.#down(event));
    this.overlay.addEventListener("pointermove", (event) => this.#move(event));
    this.overlay.addEventListener("pointerup", (event) => this.#up(event));
    this.overlay.addEventListener("pointercancel", () => this.clear());
    new ResizeObserver(() => this.redraw()).observe(this.root);
  }

  // Shows a picture, unless one is held for the box that is being drawn on it.
  show(header, bitmap) {
    if (!this.holding) {
      this.root.classList.remove("empty");
      if (this.picture.width !== bitmap.width || this.picture.height !== bitmap.height) {
        this.picture.width = bitmap.width;
        this.picture.height = bitmap.height;
      }
      this.picture.getContext("2d").drawImage(bitmap, 0, 0);
      this.header = header;
      this.redraw();
    }
    bitmap.close();
  }

  empty() {
    this.root.classList.add("empty");
    this.header = null;
    this.clear();
  }

  setBox(box) {
    this.drawn = box;
    this.redraw();
  }

  clear() {
    this.drawn = null;
    this.start = null;
    this.release();
    this.onDraw(null);
    this.redraw();
  }

  release() {
    this.holding = false;
    this.held.hidden = true;
  }

  redraw() {
    const { width, height, left, top } = this.#place();
    const ratio = window.devicePixelRatio || 1;
    Object.assign(this.overlay.style, { width: `${width}px`, height: `${height}px`, left: `${left}px`, top: `${top}px` });
    this.overlay.width = Math.round(width * ratio);
    this.overlay.height = Math.round(height * ratio);
    if (!this.header) return;
    const pen = this.overlay.getContext("2d");
    const scale = this.overlay.width / this.header.width;
    const frame = (box, colour, weight, dash = []) => {
      pen.lineWidth = weight * ratio;
      pen.strokeStyle = colour;
      pen.setLineDash(dash.map((part) => part * ratio));
      pen.strokeRect(...box.map((value) => value * scale));
    };
    const { box, raw_box: raw, state } = this.header;
    if (raw && this.showRaw) frame(raw, RAW, 1.5, [2, 3]);
    if (box && this.showBox) frame(box, COLOURS[state] ?? "#fff", 3, state === "LOST" ? [8, 5] : []);
    if (this.drawn) frame(this.drawn, DRAWN, 2, [6, 3]);
  }

  // Where the picture lies in its element, which may be wider than it.
  #place() {
    const outer = this.picture;
    const scale = Math.min(outer.clientWidth / (outer.width || 1), outer.clientHeight / (outer.height || 1));
    const width = outer.width * scale;
    const height = outer.height * scale;
    return {
      width,
      height,
      left: outer.offsetLeft + (outer.clientWidth - width) / 2,
      top: outer.offsetTop + (outer.clientHeight - height) / 2,
    };
  }

  #at(event) {
    const area = this.overlay.getBoundingClientRect();
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    return [
      inside(((event.clientX - area.left) * this.header.width) / area.width, this.header.width),
      inside(((event.clientY - area.top) * this.header.height) / area.height, this.header.height),
    ];
  }

  #down(event) {
    if (!this.header || !event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    this.overlay.focus({ preventScroll: true });
    this.overlay.setPointerCapture(event.pointerId);
    if (!this.holding) this.onPin(this.header.frame);
    this.holding = true;
    this.held.textContent = `frame ${this.header.frame} is held for your box; tracking goes on`;
    this.start = this.#at(event);
    this.drawn = null;
  }

  #move(event) {
    if (!this.start) return;
    const [x, y] = this.#at(event);
    const [x0, y0] = this.start;
    this.drawn = [Math.min(x, x0), Math.min(y, y0), Math.abs(x - x0), Math.abs(y - y0)].map((v) => Math.round(v * 10) / 10);
    this.redraw();
  }

  #up() {
    if (!this.start) return;
    this.start = null;
    if (!this.drawn || this.drawn[2] < LEAST_PX || this.drawn[3] < LEAST_PX) {
      this.clear();
      return;
    }
    this.onDraw(this.drawn);
  }
}

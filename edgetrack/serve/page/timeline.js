// The score of every frame of the run, in the colours of the states; a click goes to the frame.

const COLOURS = { TRACKING: "#00c878", UNCERTAIN: "#ffbe00", LOST: "#ff5a52" };
const LIVE_FRAMES = 600;

export class Timeline {
  constructor(onSeek) {
    this.canvas = document.getElementById("plot");
    this.run = 0;
    this.points = [];
    this.count = null;
    this.at = null;
    this.canvas.addEventListener("click", (event) => {
      if (this.count === null) return;
      const { first, last } = this.#range();
      const part = event.offsetX / this.canvas.clientWidth;
      onSeek(Math.min(this.count - 1, Math.max(0, Math.round(first + part * (last - first)))));
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  // Takes the points that came with a picture: later ones of the same run that were known are void.
  add(message, at) {
    this.at = at;
    if (message) {
      if (message.run !== this.run) this.points = [];
      this.run = message.run;
      if (message.list.length) {
        const from = message.list[0][0];
        while (this.points.length && this.points.at(-1)[0] >= from) this.points.pop();
        this.points.push(...message.list);
      }
    }
    this.draw();
  }

  setCount(count) {
    this.count = count;
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = (this.canvas.width = Math.round(this.canvas.clientWidth * ratio));
    const height = (this.canvas.height = Math.round(this.canvas.clientHeight * ratio));
    const pen = this.canvas.getContext("2d");
    const { first, last } = this.#range();
    const x = (frame) => ((frame - first) / Math.max(1, last - first)) * (width - 4 * ratio) + 2 * ratio;
    const y = (score) => (1 - score) * (height - 8 * ratio) + 4 * ratio;
    pen.strokeStyle = "#2a3240";
    pen.lineWidth = ratio;
    for (const score of [0, 0.25, 0.5, 0.75, 1]) line(pen, 0, y(score), width, y(score));
    pen.lineWidth = 2 * ratio;
    const shown = this.points.filter(([frame]) => frame >= first);
    shown.forEach(([frame, score, state], index) => {
      const [before, previous] = shown[index - 1] ?? [frame, score];
      pen.strokeStyle = COLOURS[state] ?? "#fff";
      line(pen, x(before), y(previous), Math.max(x(frame), x(before) + ratio), y(score));
    });
    if (this.at !== null && shown.length) {
      pen.strokeStyle = "#ffffff90";
      pen.lineWidth = ratio;
      line(pen, x(this.at), 0, x(this.at), height);
    }
  }

  #range() {
    if (this.count !== null) return { first: 0, last: this.count - 1 };
    const last = this.points.at(-1)?.[0] ?? LIVE_FRAMES;
    return { first: Math.max(0, last - LIVE_FRAMES), last: Math.max(last, LIVE_FRAMES) };
  }
}

function line(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

// A line chart in SVG: axes, lines, and a cursor that reads values off, by mouse, touch or arrow keys.

import { h, svg } from "./dom.js";

const MARGIN = { top: 10, right: 12, bottom: 26, left: 46 };
const HEIGHT = 240;
const TICK_PIXELS = 46; // between two of the vertical axis

/** A chart of series {name, points: [[x, y], ...] in the order of x}. `log`: of the vertical axis. */
export class Chart {
  constructor({ title, about, log = false }) {
    this.log = log;
    this.title = title;
    this.series = [];
    this.at = null; // the step that the cursor is at; null: the newest
    this.key = h("ul", { class: "key" });
    this.svg = svg("svg", { role: "img", tabindex: "0" });
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("h2", {}, title), h("p", {}, about), this.key),
      this.svg,
    );
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.moveTo(null));
    this.svg.addEventListener("blur", () => this.moveTo(null));
    this.svg.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** Show these series. */
  show(series) {
    this.series = series.filter(({ points }) => points.length);
    this.element.hidden = !this.series.length;
    this.draw();
  }

  get steps() {
    return [...new Set(this.series.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
  }

  draw() {
    const width = this.svg.clientWidth;
    if (!width || !this.series.length) return;
    this.width = width;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.fit();
    const lines = this.series.map(({ points }, i) =>
      svg("path", { class: `series-${i}`, d: this.line(points) }),
    );
    this.cursor = svg("g");
    this.svg.replaceChildren(...this.axes(), ...lines, this.cursor);
    this.svg.setAttribute("aria-label", this.summary());
    this.read();
  }

  /** Choose the scales. */
  fit() {
    const xs = this.series.flatMap(({ points }) => [points[0][0], points.at(-1)[0]]);
    const ys = this.series.flatMap(({ points }) => points.map(([, y]) => y));
    this.isLog = this.log && Math.min(...ys) > 0;
    const to = this.isLog ? Math.log10 : (y) => y;
    let low = to(reduced(ys, Math.min)),
      high = to(reduced(ys, Math.max));
    if (!this.isLog) low = Math.min(0, low);
    if (high - low < 1e-9) high = low + (this.isLog ? 0.1 : Math.abs(low) || 1);
    const room = (high - low) * 0.04;
    [low, high] = [this.isLog || low < 0 ? low - room : low, high + room];
    const [first, last] = [Math.min(0, ...xs), Math.max(...xs)];
    const inner = this.width - MARGIN.left - MARGIN.right,
      tall = HEIGHT - MARGIN.top - MARGIN.bottom;
    this.x = (x) => MARGIN.left + (inner * (x - first)) / (last - first || 1);
    this.y = (y) => MARGIN.top + tall * (1 - (to(y) - low) / (high - low));
    const count = Math.max(2, Math.floor(tall / TICK_PIXELS));
    this.yTicks = this.isLog ? logTicks(10 ** low, 10 ** high, count + 1) : ticks(low, high, count);
    this.xTicks = ticks(first, last, Math.max(2, Math.floor(inner / 90)));
  }

  axes() {
    const right = this.width - MARGIN.right,
      bottom = HEIGHT - MARGIN.bottom;
    return [
      ...this.yTicks.flatMap((y) => [
        svg("line", { class: "rule", x1: MARGIN.left, x2: right, y1: this.y(y), y2: this.y(y) }),
        svg("text", { x: MARGIN.left - 8, y: this.y(y) + 4, "text-anchor": "end" }, short(y)),
      ]),
      ...this.xTicks.map((x) =>
        svg("text", { x: this.x(x), y: bottom + 18, "text-anchor": "middle" }, short(x)),
      ),
    ];
  }

  line(points) {
    const place = ([x, y]) => `${this.x(x).toFixed(1)},${this.y(y).toFixed(1)}`;
    return `M${thinned(points, this.width).map(place).join("L")}`;
  }

  point(offset) {
    const { steps } = this;
    this.moveTo(
      steps.reduce((best, step) =>
        Math.abs(this.x(step) - offset) < Math.abs(this.x(best) - offset) ? step : best,
      ),
    );
  }

  press(event) {
    const { steps } = this;
    const now = this.at === null ? steps.length - 1 : steps.indexOf(this.at);
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.moveTo(steps[Math.max(0, Math.min(steps.length - 1, now + moves[event.key]))]);
  }

  moveTo(step) {
    this.at = step;
    this.read();
  }

  /** Show the values at the cursor, or the newest ones. */
  read() {
    if (!this.cursor) return;
    const found = this.series.map(({ points }) =>
      this.at === null ? points.at(-1) : nearest(points, this.at),
    );
    this.key.replaceChildren(
      ...this.series.map(({ name }, i) =>
        h("li", {}, h("i", { class: `series-${i}` }), `${name} ${short(found[i][1])}`),
      ),
      ...(this.at === null ? [] : [h("li", { class: "help" }, `step ${this.at.toLocaleString("en")}`)]),
    );
    const marks = found.map(([x, y], i) =>
      svg("circle", { class: `series-${i}`, cx: this.x(x), cy: this.y(y), r: 3 }),
    );
    const line =
      this.at === null
        ? []
        : [
            svg("line", {
              class: "cursor",
              x1: this.x(this.at),
              x2: this.x(this.at),
              y1: MARGIN.top,
              y2: HEIGHT - MARGIN.bottom,
            }),
          ];
    this.cursor.replaceChildren(...line, ...marks);
  }

  /** The chart in words. */
  summary() {
    const parts = this.series.map(({ name, points }) => {
      const [first, last] = [points[0], points.at(-1)];
      const lowest = reduced(
        points.map(([, y]) => y),
        Math.min,
      );
      const ends = [first, last].map(([x, y]) => `${y.toPrecision(3)} at step ${x}`);
      return `${name} ${ends.join(", ")}, lowest ${lowest.toPrecision(3)}`;
    });
    return `${this.title}: ${parts.join("; ")}`;
  }
}

const reduced = (values, pick) => values.reduce((a, b) => pick(a, b)); // any number of them

const nearest = (points, step) =>
  points.reduce((best, point) => (Math.abs(point[0] - step) <= Math.abs(best[0] - step) ? point : best));

/** Of the points in one column of pixels, the lowest and the highest. */
export function thinned(points, columns) {
  if (points.length <= 2 * columns) return points;
  const size = Math.ceil(points.length / columns),
    kept = [];
  for (let i = 0; i < points.length; i += size) {
    const group = points.slice(i, i + size);
    const low = group.reduce((a, b) => (b[1] < a[1] ? b : a)),
      high = group.reduce((a, b) => (b[1] > a[1] ? b : a));
    kept.push(...(low[0] < high[0] ? [low, high] : low === high ? [low] : [high, low]));
  }
  return kept;
}

/** Round numbers from `low` to `high`, about `count` of them. */
export function ticks(low, high, count) {
  const rough = (high - low) / count,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((size) => size >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const found = [];
  for (let i = first; i * step <= high + 1e-9 * step; i += 1) found.push(Number((i * step).toPrecision(12)));
  return found;
}

/** The same on a logarithmic axis. */
export function logTicks(low, high, count) {
  const all = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const digit of [1, 2, 5]) all.push(Number((digit * 10 ** power).toPrecision(3)));
  }
  const inside = all.filter((value) => value >= low && value <= high);
  if (inside.length < 2) return ticks(low, high, count - 1).filter((value) => value > 0);
  const tens = inside.filter((value) => Math.abs(Math.log10(value) % 1) < 1e-9);
  return inside.length > count + 1 && tens.length > 1 ? tens : inside;
}

function short(value) {
  return value >= 10000 ? `${Number((value / 1000).toPrecision(4))}k` : String(Number(value.toPrecision(4)));
}

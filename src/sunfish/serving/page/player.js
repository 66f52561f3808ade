// Scrubbing: the steps of all texts at once.

import { byId, isTaken } from "./dom.js";
import { showLegend } from "./shading.js";

const WHOLE_MS = 5000; // of all steps, if that is neither too fast nor too slow
const FASTEST_MS = 40;
const SLOWEST_MS = 250;

/** The bar over the texts. */
export class Player {
  constructor() {
    this.panels = [];
    this.timer = null;
    this.follows = true; // shows the newest state
    this.slider = byId("step");
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    byId("play").addEventListener("click", () => this.toggle());
    for (const choice of document.querySelectorAll("[name=shade]"))
      choice.addEventListener("change", () => this.reshade());
    document.addEventListener("keydown", (event) => this.key(event));
  }

  /** Show these panels from now on. */
  take(panels) {
    this.pause();
    this.panels = panels;
    this.follows = true;
    byId("player").hidden = true;
    byId("legend").hidden = true;
  }

  get steps() {
    return Math.max(0, ...this.panels.map((panel) => panel.steps));
  }

  get kind() {
    return document.querySelector("[name=shade]:checked").value;
  }

  /** A state has come. */
  grown() {
    const { steps } = this;
    const scored = this.panels.some((panel) => panel.recording.tokens.length);
    byId("player").hidden = !steps && !scored;
    byId("player").classList.toggle("still", !steps); // of texts that came whole there are no steps
    showLegend(byId("player").hidden ? "none" : this.kind);
    this.slider.max = String(steps);
    if (this.follows) this.slider.value = String(steps);
    this.say();
  }

  /** All texts are whole. */
  finished() {
    this.grown();
    this.reshade();
  }

  reshade() {
    const shown = Number(this.slider.value);
    for (const panel of this.panels) panel.shadeBy(this.kind, shown);
    showLegend(byId("player").hidden ? "none" : this.kind);
  }

  go(step, playing = false) {
    if (!playing) this.pause();
    const to = Math.max(0, Math.min(this.steps, step));
    this.follows = to === this.steps;
    this.slider.value = String(to);
    for (const panel of this.panels) panel.show(to);
    this.say();
  }

  say() {
    const text = `${this.slider.value} / ${this.steps}`;
    byId("position").textContent = text;
    this.slider.setAttribute("aria-valuetext", `step ${this.slider.value} of ${this.steps}`);
  }

  toggle() {
    if (this.timer !== null) this.pause();
    else this.play();
  }

  play() {
    if (Number(this.slider.value) >= this.steps) this.go(0);
    const pause = Math.max(FASTEST_MS, Math.min(SLOWEST_MS, WHOLE_MS / Math.max(1, this.steps)));
    this.timer = setInterval(() => {
      this.go(Number(this.slider.value) + 1, true);
      if (Number(this.slider.value) >= this.steps) this.pause();
    }, pause);
    byId("play").textContent = "Pause";
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    byId("play").textContent = "Play";
  }

  key(event) {
    if (
      byId("player").hidden ||
      isTaken(event.key, event.target) ||
      event.ctrlKey ||
      event.altKey ||
      event.metaKey
    )
      return;
    if (event.key === "ArrowRight") this.go(Number(this.slider.value) + 1);
    else if (event.key === "ArrowLeft") this.go(Number(this.slider.value) - 1);
    else if (event.key === " ") this.toggle();
    else return;
    event.preventDefault();
  }
}

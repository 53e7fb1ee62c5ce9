"use strict";

// Light or dark: as the system says, until the reader says otherwise.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;
function paint() { root.dataset.theme = chosen ?? (dark.matches ? "dark" : "light"); }
dark.addEventListener("change", paint);
document.getElementById("theme").addEventListener("click", () => {
  chosen = root.dataset.theme === "dark" ? "light" : "dark";
  paint();
});
paint();

// Plots.
const narrow = matchMedia("(max-width: 760px)");
async function plot(chart) {
  const spec = JSON.parse(document.getElementById(chart.id.replace("chart", "spec")).textContent);
  for (const unit of [spec, ...(spec.layer ?? [])]) {
    const axis = unit.encoding?.y?.axis;
    if (axis?.labelLimit && narrow.matches) axis.labelLimit = 104;
  }
  await vegaEmbed(chart, spec, { renderer: "svg", actions: false, tooltip: { theme: "custom" } });
}
async function plotAll() {
  for (const chart of document.querySelectorAll(".chart")) await plot(chart);
  root.dataset.plotted = "yes";
}
narrow.addEventListener("change", plotAll);
plotAll();

// Sound: one clip at a time.
let playing = null;
function halt() {
  if (!playing) return;
  playing.sound.pause();
  playing.clip.classList.remove("playing");
  playing = null;
}
function follow() {
  if (!playing) return;
  const { clip, sound, span } = playing;
  clip.querySelector(".head").style.left = `${Math.min((sound.currentTime * 1000 / span) * 100, 100)}%`;
  requestAnimationFrame(follow);
}
function play(clip, atMs) {
  halt();
  const sound = clip.querySelector("audio");
  const span = Number(clip.closest(".scene").dataset.span);
  sound.currentTime = atMs / 1000;
  playing = { clip, sound, span };
  clip.classList.add("playing");
  sound.play().catch(halt);
  follow();
}
for (const clip of document.querySelectorAll(".clip")) {
  const sound = clip.querySelector("audio");
  if (!sound) continue;
  sound.addEventListener("ended", halt);
  clip.querySelector(".play").addEventListener("click", () => (playing?.clip === clip ? halt() : play(clip, 0)));
  clip.querySelector(".wave").addEventListener("click", (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    play(clip, ((event.clientX - box.left) / box.width) * Number(clip.closest(".scene").dataset.span));
  });
}

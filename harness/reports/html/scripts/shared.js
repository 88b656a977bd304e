// What all charts share.
"use strict";

const $ = (id) => document.getElementById(id);
const about = JSON.parse($("about").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const line = (name) => (name.startsWith("#") ? name : colour(name));
// plotly reads a little HTML in its texts, TeX between dollars, and fields after a percent sign
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "%": "&#37;" };
const plain = (text) => String(text).replace(/[&<>$%]/g, (letter) => ENTITIES[letter]);
const short = (text, most = 30) =>
  plain(text.length > most ? text.slice(0, most / 2) + "…" + text.slice(1 - most / 2) : text);
const number = (value) =>
  Number.isFinite(value) ? String(Number(value.toPrecision(4))) : Number.isNaN(value) ? "not taken" : "not finite";
const narrow = () => innerWidth < 640;
const settings = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
const redraws = [];  // for other colours
let array;  // from a reference to the numbers that it stands for

function layout(more) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line") };
  const merged = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), size: narrow() ? 10 : 12, family: "system-ui, DejaVu Sans, sans-serif" },
    margin: { l: 64, r: narrow() ? 16 : 150, t: 30, b: 44 },
    hoverlabel: { align: "left" }, hovermode: "closest", dragmode: "zoom",
    ...more,
  };
  for (const name of Object.keys(merged)) if (/^[xy]axis/.test(name)) merged[name] = { ...axis, ...merged[name] };
  return merged;
}
const upright = (at, more) => ({ type: "line", yref: "paper", y0: 0, y1: 1, x0: at, x1: at,
  line: { color: colour("bad"), width: 1.5, dash: "dot" }, ...more });

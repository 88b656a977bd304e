// Shared by all charts.
"use strict";

const $ = (id) => document.getElementById(id);
const page = JSON.parse($("page-data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const themeColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const lineColour = (name) => (name.startsWith("#") ? name : themeColour(name));
// Plotly reads some HTML in its texts, TeX between dollar signs, and fields after a percent sign.
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "%": "&#37;" };
const escaped = (text) => String(text).replace(/[&<>$%]/g, (letter) => ENTITIES[letter]);
const shortened = (text, most = 30) =>
  escaped(text.length > most ? text.slice(0, most / 2) + "…" + text.slice(1 - most / 2) : text);
const number = (value) =>
  Number.isFinite(value) ? String(Number(value.toPrecision(4))) : Number.isNaN(value) ? "not recorded" : "not finite";
const thousands = (value) => value.toLocaleString("en");
const isNarrow = () => innerWidth < 640;
const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
const DASHES = ["solid", "dash", "dot", "dashdot"];  // of lines of one colour
const redraws = [];  // called when the colour scheme changes
let array;  // maps a reference in `page` to its numbers

function layout(more) {
  const axis = { gridcolor: themeColour("line"), zerolinecolor: themeColour("line"), linecolor: themeColour("line") };
  const merged = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: themeColour("ink"), size: isNarrow() ? 10 : 12, family: "system-ui, DejaVu Sans, sans-serif" },
    margin: { l: 64, r: isNarrow() ? 16 : 150, t: 30, b: 44 },
    hoverlabel: { align: "left" }, hovermode: "closest", dragmode: "zoom",
    ...more,
  };
  for (const name of Object.keys(merged)) if (/^[xy]axis/.test(name)) merged[name] = { ...axis, ...merged[name] };
  return merged;
}
const verticalLine = (at, more) => ({ type: "line", yref: "paper", y0: 0, y1: 1, x0: at, x1: at,
  line: { color: themeColour("bad"), width: 1.5, dash: "dot" }, ...more });

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
// Ticks of a logarithmic axis, as harness/reports/scales.py has them: 1, 10, 100, and 10ⁿ for what has more digits.
const superscript = (power) => String(power).replace(/[-0-9]/g, (digit) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]);
const isPlain = (power) => power >= -3 && power <= 4;
const powerOfTen = (power) => (!isPlain(power) ? `10${superscript(power)}` : power < 0 ? (10 ** power).toFixed(-power) : thousands(10 ** power));
function logTicks(low, high, most = 8) {  // both as decimal logarithms
  const first = Math.ceil(low - 1e-9), last = Math.floor(high + 1e-9), values = [];
  if (last - first >= 1) {
    const step = Math.ceil((last - first + 1) / most);
    for (let power = first; power <= last; power += step) values.push([power, powerOfTen(power)]);
  } else
    for (let power = first - 2; power <= last + 1; power++)
      for (const times of [1, 2, 5]) {
        const at = power + Math.log10(times);
        const text = isPlain(power) ? (times * 10 ** power).toFixed(Math.max(0, -power)) : times === 1 ? powerOfTen(power) : `${times}·${powerOfTen(power)}`;
        if (at >= low - 1e-9 && at <= high + 1e-9) values.push([at, text]);
      }
  return { positions: values.map(([at]) => at), texts: values.map(([, text]) => text) };
}
function logAxis(low, high, most) {
  const { positions, texts } = logTicks(low, high, most);
  return { type: "log", range: [low, high], tickmode: "array", tickvals: positions.map((at) => 10 ** at), ticktext: texts };
}
const thousands = (value) => value.toLocaleString("en");
// Four digits; 1·10ⁿ where a number would have many zeros.
function number(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not recorded" : "not finite";
  const rounded = Number(value.toPrecision(4)), size = Math.abs(rounded);
  if (size === 0 || (size >= 1e-4 && size < 1e7)) return rounded.toLocaleString("en", { maximumSignificantDigits: 4 });
  const [factor, power] = rounded.toExponential().split("e");
  return `${factor}·10${superscript(Number(power))}`;
}
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
// Where each run of a lineage takes over: dashed where it changes something, else dotted, unless there are very many.
const takeoverLines = (takeovers, colour = themeColour("open")) => takeovers.filter((one) => one.intervenes || takeovers.length <= 40).map((one) =>
  verticalLine(one.iteration - 0.5, { line: { color: colour, width: one.intervenes ? 1.2 : 1, dash: one.intervenes ? "dash" : "dot" } }));

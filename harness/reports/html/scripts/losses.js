// Losses, learning rate and test accuracy over the iterations.

// Reduces rows lo … hi - 1 of a line to at most about `most` points: of each of `most` / 2 equal parts, it keeps the
// lowest value, the highest, and the first that is not finite.
function reduced(x, y, lo, hi, most) {
  const rows = [];
  if (hi - lo <= most) for (let i = lo; i < hi; i++) rows.push(i);
  else {
    const parts = Math.floor(most / 2);
    for (let p = 0; p < parts; p++) {
      const start = lo + Math.floor((p * (hi - lo)) / parts), stop = lo + Math.floor(((p + 1) * (hi - lo)) / parts);
      let lowest = -1, highest = -1, nonfinite = -1;
      for (let i = start; i < stop; i++) {
        if (!Number.isFinite(y[i])) { if (nonfinite < 0) nonfinite = i; continue; }
        if (lowest < 0 || y[i] < y[lowest]) lowest = i;
        if (highest < 0 || y[i] > y[highest]) highest = i;
      }
      const kept = new Set([lowest, highest, nonfinite].filter((i) => i >= 0));
      rows.push(...[...kept].sort((a, b) => a - b));
    }
  }
  return { x: rows.map((i) => x[i]), y: rows.map((i) => (Number.isFinite(y[i]) ? y[i] : null)) };
}

// The first row whose x is not below `value`.
function firstRow(x, value) {
  let lo = 0, hi = x.length;
  while (lo < hi) { const middle = (lo + hi) >> 1; if (x[middle] < value) lo = middle + 1; else hi = middle; }
  return lo;
}

function drawLosses() {
  const chart = $("loss"), from = $("loss-from"), to = $("loss-to"), logarithmic = $("loss-log");
  const { lines, more, lr, input, accuracies, levels, first, last, windows, snapshots, alarms, own, takeovers } = page.losses;
  const series = lines.map((one) => ({ ...one, x: array(one.x), y: array(one.y) }));
  const [rate, data] = [lr, input].map((one) => one && { ...one, x: array(one.x), y: array(one.y) });
  if (data) chart.classList.add("taller");
  const finite = [];
  for (const one of series) if (!one.restart) {
    const step = Math.max(1, Math.floor(one.y.length / 4000));
    for (let i = 0; i < one.y.length; i += step) if (Number.isFinite(one.y[i])) finite.push(one.y[i]);
  }
  finite.sort((a, b) => a - b);
  let highest = 0, lowest = Infinity, left = 0;
  for (const one of series) for (const v of one.y) if (Number.isFinite(v)) {
    if (one.left) { if (v > left) left = v; } else if (v > highest) highest = v;
    if (v < lowest) lowest = v;
  }
  highest = Math.max(highest, Math.min(left, 3 * Math.max(highest, ...levels.map((l) => l.value))));  // a run that was left may have no bounds
  logarithmic.disabled = !(lowest > 0);
  logarithmic.checked = lowest > 0 && highest > 4 * finite[Math.floor(0.98 * (finite.length - 1))];
  let range = [first, last];

  function traces() {
    const most = 2 * Math.max(300, chart.clientWidth || 800);
    const visible = (one) => reduced(one.x, one.y, Math.max(0, firstRow(one.x, range[0]) - 1),
      Math.min(one.x.length, firstRow(one.x, range[1] + 1) + 1), most);
    const close = range[1] - range[0] <= 60;
    const named = series.find((one) => one.left);  // one entry of the legend for all of them
    const drawn = series.map((one) => ({
      ...visible(one), name: one.left ? "not continued" : shortened(one.name, isNarrow() ? 24 : 40), showlegend: !one.left || one === named, type: "scatter", mode: close ? "lines+markers" : "lines", connectgaps: false,
      line: { color: lineColour(one.colour), width: one.colour === "ink" ? 2.2 : one.restart ? 1.6 : 1, dash: one.restart ? "dash" : "solid" },
      marker: { size: 5 }, opacity: one.colour === "faint" ? 0.75 : 1,
      hovertemplate: `%{x:,d}: %{y:.4g}<extra>${shortened(one.name, 60)}</extra>`,
    }));
    if (more) drawn.push({ x: [null], y: [null], name: `${more} more heads, not drawn`, mode: "lines", line: { color: "rgba(0,0,0,0)" } });
    if (rate) drawn.push({ ...visible(rate), type: "scatter", mode: "lines", yaxis: "y2", showlegend: false,
      line: { color: themeColour("ink"), width: 1.4 }, hovertemplate: "%{x:,d}: %{y:.4g}<extra>learning rate</extra>" });
    if (data) drawn.push({ ...visible(data), type: "scatter", mode: "lines", yaxis: "y5", showlegend: false,
      line: { color: themeColour("bad"), width: 1.4 }, hovertemplate: `%{x:,d}: %{y:.4g}<extra>${shortened(data.name, 60)}</extra>` });
    for (const one of accuracies) drawn.push({ x: one.x, y: one.y, name: shortened(one.name), type: "scatter", mode: "lines+markers",
      yaxis: "y3", line: { color: one.colour, width: 1.4, dash: DASHES[one.nth % DASHES.length] }, marker: { size: 5 }, legend: "legend2", showlegend: !isNarrow() && accuracies.length < 7,
      hovertemplate: `%{x:,d}: %{y:.4f}<extra>${shortened(one.name, 60)}</extra>` });
    const mark = (items, at, symbol, colours, sizes, text) => drawn.push({ x: items.map((item) => item.iteration), y: items.map(() => at),
      type: "scatter", mode: "markers", yaxis: "y4", showlegend: false, cliponaxis: false,
      marker: { symbol, color: colours, size: sizes, line: { width: 1.2, color: colours } }, text: items.map(text), hovertemplate: "%{text}<extra></extra>" });
    if (snapshots.length) mark(snapshots, 0.015, snapshots.map((s) => (s.good ? "triangle-up" : "triangle-up-open")),
      snapshots.map((s) => themeColour(s.good ? "good" : "open")), snapshots.map((s) => (s.last ? 15 : 9)),
      (s) => `snapshot of iteration ${thousands(s.iteration)}${s.last ? " (last good)" : s.good ? "" : ", after the onset"}`);
    if (takeovers.length) mark(takeovers, 1, takeovers.map((t) => (t.intervenes ? "diamond" : "diamond-open")), themeColour("open"), 8,
      (t) => `iteration ${thousands(t.iteration)}: ${shortened(t.run, 60)} takes over<br>${shortened(t.text, 160)}`);
    if (alarms.length) mark(alarms, 0.985, "triangle-down", themeColour("bad"), 9,
      (a) => `iteration ${thousands(a.iteration)}, ${shortened(a.text, 160)}`);
    return drawn;
  }

  function axes() {
    const { panels, bottom } = placed([["", 5], ...(rate ? [["2", 1.1]] : []), ...(data ? [["5", 1.5]] : []), ...(accuracies.length ? [["3", 1.9]] : [])]);
    const top = Math.max(highest, ...levels.map((l) => l.value)) * 1.08;
    const found = {
      xaxis: { range: [range[0] - 0.5, range[1] + 0.5], title: { text: "iteration" }, anchor: `y${bottom}`, tickformat: ",d", zeroline: false },
      yaxis: { title: { text: "loss" }, domain: panels[""], zeroline: false,
        ...(logarithmic.checked ? logAxis(Math.log10(lowest) - 0.05, Math.log10(top) + 0.02) : { type: "linear", range: [Math.min(0, lowest), top] }) },
      yaxis4: { domain: panels[""], range: [0, 1], overlaying: "y", visible: false, fixedrange: true },
    };
    if (rate) found.yaxis2 = { title: { text: "learning<br>rate" }, domain: panels["2"], zeroline: false, ...rateAxis() };
    if (data) found.yaxis5 = { title: { text: "largest<br>value" }, domain: panels["5"], zeroline: false, ...inputAxis() };
    if (accuracies.length) found.yaxis3 = { title: { text: "test<br>accuracy" }, domain: panels["3"], range: [-0.06, 1.1], tickvals: [0, 0.5, 1], zeroline: false, fixedrange: true };
    return found;
  }

  // Places panels one below the other, with gaps for a legend.
  function placed(heights) {
    const gap = 0.085, unit = (1 - gap * (heights.length - 1)) / heights.reduce((sum, [, height]) => sum + height, 0);
    const found = {};
    let top = 1;
    for (const [axis, height] of heights) {
      found[axis] = [Math.max(0, top - height * unit), top];
      top -= height * unit + gap;
    }
    return { panels: found, bottom: heights[heights.length - 1][0] };
  }

  function inputAxis() {
    let low = Infinity, high = 0;
    for (const v of data.y) if (Number.isFinite(v) && v > 0) { low = Math.min(low, v); high = Math.max(high, v); }
    return high > 20 * low ? logAxis(Math.log10(low) - 0.1, Math.log10(high) + 0.1, 2) : { rangemode: "tozero", nticks: 3 };
  }

  // Linear, with one round tick; logarithmic where it changes by more than a factor of 20, but for the end of a run.
  function rateAxis() {
    const rates = Array.from(rate.y).filter((v) => Number.isFinite(v) && v > 0);
    if (!rates.length) return { nticks: 3 };
    rates.sort((a, b) => a - b);
    const low = rates[0], high = rates[rates.length - 1];
    if (rates.length === rate.y.length && high > 20 * rates[Math.floor(rates.length / 10)]) return logAxis(Math.log10(low) - 0.1, Math.log10(high) + 0.1, 2);
    const power = Math.floor(Math.log10(high) + 1e-3), round = Math.floor(high / 10 ** power + 1e-2);  // of four digits
    const text = isPlain(power) ? (round * 10 ** power).toFixed(Math.max(0, -power)) : round === 1 ? powerOfTen(power) : `${round}·${powerOfTen(power)}`;
    return { range: [0, 1.15 * high], tickvals: [0, round * 10 ** power], ticktext: ["0", text] };
  }

  function shapes() {
    const bands = windows.map(([a, b]) => ({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: a - 0.5, x1: b - 0.5,
      fillcolor: themeColour("window"), opacity: 0.3, line: { width: 0 }, layer: "below" }));
    const dashes = levels.map((l) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: l.value, y1: l.value, layer: "below",
      line: { color: themeColour("faint"), width: 1, dash: "dash" } }));
    if (page.losses.not_finite !== null) bands.push({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: page.losses.not_finite - 0.5, x1: last + 0.5,
      fillcolor: page.palette.nonfinite, opacity: 0.15, line: { width: 0 }, layer: "below" });
    if (own > first) bands.push({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: first - 0.5, x1: own - 0.5,
      fillcolor: themeColour("paper"), opacity: 0.5, line: { width: 0 }, layer: "above" });
    return [...bands, ...dashes, ...takeoverLines(takeovers), ...(page.onset === null ? [] : [verticalLine(page.onset)])];
  }

  // Labels of the levels, moved apart where they would overlap, and of the onset.
  function annotations() {
    const position = { x: 0.008, xanchor: "left", yshift: 8, bgcolor: themeColour("paper"), opacity: 0.85, borderpad: 0 };
    const [low, high] = axes().yaxis.range, spacing = 13, height = 0.4 * (chart.clientHeight || 600);
    let previous = -Infinity;  // pixels
    const labels = [...levels].sort((a, b) => a.value - b.value).map((l) => {
      const y = logarithmic.checked ? Math.log10(l.value) : l.value, at = ((y - low) / (high - low)) * height;
      previous = Math.max(at, previous + spacing);
      return { ...position, xref: "paper", y, yshift: (position.yshift ?? 0) + previous - at, text: escaped(l.text), showarrow: false, font: { size: 11, color: themeColour("open") } };
    });
    if (page.onset !== null) labels.push({ x: page.onset, y: 1, yref: "paper", yanchor: "bottom", showarrow: false,
      text: `onset ${thousands(page.onset)}`, font: { size: 11, color: themeColour("bad") } });
    const width = (chart.clientWidth || 800) * 0.9;
    let labelled = -Infinity;
    for (const one of takeovers) {
      const at = ((one.iteration - range[0]) / Math.max(1, range[1] - range[0])) * width;
      if (!one.intervenes || at < 0 || at > width || at - labelled < 16) continue;
      labelled = at;
      labels.push({ x: one.iteration, ...(at < 16 ? { xanchor: "left", xshift: 2 } : { xanchor: "right", xshift: -2 }), y: 0.97, yref: "y4", yanchor: "top", textangle: -90, showarrow: false,
        text: shortened(one.text, isNarrow() ? 26 : 40), bgcolor: themeColour("paper"), opacity: 0.85, borderpad: 0, font: { size: 11, color: themeColour("ink") } });
    }
    if (data) labels.push({ x: 0.008, xref: "paper", xanchor: "left", y: placedData()[1], yref: "paper", yanchor: "bottom", showarrow: false,
      text: escaped(data.name), font: { size: 11, color: themeColour("bad") } });
    return [...labels, ...endLabels(low, high, height)];
  }
  const placedData = () => axes().yaxis5.domain;

  // Names of curves where they end, at the right, moved apart where they would overlap.
  function endLabels(low, high, height) {
    if (!direct()) return [];
    const ends = series.filter((one) => one.ends).map((one) => {
      let last = one.y.length - 1;
      while (last >= 0 && !Number.isFinite(one.y[last])) last--;
      const value = last < 0 ? lowest : one.y[last];
      return { ...one, at: logarithmic.checked ? Math.log10(value) : value };
    });
    let previous = -Infinity;  // pixels
    return ends.sort((a, b) => a.at - b.at).map((one) => {
      const at = ((one.at - low) / (high - low)) * height;
      previous = Math.max(at, previous + 14);
      return { x: 1.01, xref: "paper", xanchor: "left", y: one.at, yshift: previous - at, showarrow: false,
        text: escaped(shortened(one.name, 28)), font: { size: 11, color: lineColour(one.colour) } };
    });
  }

  function direct() { return !isNarrow() && series.some((one) => one.ends); }

  function draw() {
    [from.value, to.value] = range;
    return Plotly.react(chart, traces(), layout({
      ...axes(), shapes: shapes(), annotations: annotations(), showlegend: !direct(),
      margin: { l: isNarrow() ? 56 : 74, r: direct() ? 200 : 14, t: 40, b: 40 },
      legend: { orientation: "h", x: 0, y: 1.05, yanchor: "bottom", font: { size: isNarrow() ? 9 : 11 } },
      legend2: { orientation: "h", x: 0, y: accuracies.length ? axes().yaxis3.domain[1] : 0, yanchor: "bottom", font: { size: 10 } },
    }), config);
  }

  function zoom(a, b) {
    a = Math.round(a); b = Math.round(b);
    if (b >= a) range = [Math.max(first, Math.min(a, last)), Math.min(last, Math.max(b, first))];
    draw();  // also if the range was rejected: the input fields and the axis then show what is drawn
  }
  draw().then(() => {
    chart.on("plotly_relayout", (event) => {
      if (event["xaxis.autorange"]) zoom(first, last);
      else if (event["xaxis.range[0]"] !== undefined) zoom(event["xaxis.range[0]"], event["xaxis.range[1]"]);
    });
    chart.on("plotly_doubleclick", () => { zoom(first, last); return false; });
  });
  for (const input of [from, to]) input.addEventListener("change", () => zoom(+from.value, +to.value));
  logarithmic.addEventListener("change", draw);
  document.querySelector('[data-zoom="onset"]').hidden = page.onset === null;
  document.querySelector('[data-zoom="own"]').hidden = own === first;
  const zooms = {
    in: (a, b) => (b - a < 3 ? [Math.floor((a + b) / 2), Math.floor((a + b) / 2)] : [a + (b - a) / 4, b - (b - a) / 4]),
    out: (a, b) => [a - Math.max(1, (b - a) / 2), b + Math.max(1, (b - a) / 2)],
    left: (a, b) => { const by = Math.min(Math.max(1, (b - a) / 2), a - first); return [a - by, b - by]; },
    right: (a, b) => { const by = Math.min(Math.max(1, (b - a) / 2), last - b); return [a + by, b + by]; },
    all: () => [first, last],
    own: () => [own, last],
    onset: () => [page.onset - 20, page.onset + 40],
  };
  for (const button of document.querySelectorAll("[data-zoom]"))
    button.addEventListener("click", () => zoom(...zooms[button.dataset.zoom](...range)));
  redraws.push(draw);
}

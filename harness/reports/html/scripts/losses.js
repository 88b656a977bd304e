// The losses, the learning rate and the test accuracies.

// Rows lo … hi - 1 of y, or, of more than there is room for, the lowest, the highest and the first that is not finite of
// equal shares.
function reduced(x, y, lo, hi, most) {
  const rows = [];
  if (hi - lo <= most) for (let i = lo; i < hi; i++) rows.push(i);
  else {
    const shares = Math.floor(most / 2);
    for (let s = 0; s < shares; s++) {
      const from = lo + Math.floor((s * (hi - lo)) / shares), to = lo + Math.floor(((s + 1) * (hi - lo)) / shares);
      let low = -1, high = -1, broken = -1;
      for (let i = from; i < to; i++) {
        if (!Number.isFinite(y[i])) { if (broken < 0) broken = i; continue; }
        if (low < 0 || y[i] < y[low]) low = i;
        if (high < 0 || y[i] > y[high]) high = i;
      }
      const found = new Set([low, high, broken].filter((i) => i >= 0));
      rows.push(...[...found].sort((a, b) => a - b));
    }
  }
  return { x: rows.map((i) => x[i]), y: rows.map((i) => (Number.isFinite(y[i]) ? y[i] : null)) };
}
function below(x, value) {
  let lo = 0, hi = x.length;
  while (lo < hi) { const mid = (lo + hi) >> 1; if (x[mid] < value) lo = mid + 1; else hi = mid; }
  return lo;
}

function losses() {
  const chart = $("loss"), from = $("loss-from"), to = $("loss-to"), logarithmic = $("loss-log");
  const { lines, more, lr, accuracies, levels, windows, snapshots, alarms } = about.losses;
  const series = lines.map((one) => ({ ...one, x: array(one.x), y: array(one.y) }));
  const rate = lr && { ...lr, x: array(lr.x), y: array(lr.y) };
  const first = Math.min(...series.filter((s) => s.x.length).map((s) => s.x[0]));
  const last = Math.max(...series.filter((s) => s.x.length).map((s) => s.x[s.x.length - 1]));
  const finite = [];
  for (const one of series) if (!one.child) {
    const step = Math.max(1, Math.floor(one.y.length / 4000));
    for (let i = 0; i < one.y.length; i += step) if (Number.isFinite(one.y[i])) finite.push(one.y[i]);
  }
  finite.sort((a, b) => a - b);
  let highest = 0, lowest = Infinity;
  for (const one of series) for (const v of one.y) if (Number.isFinite(v)) { if (v > highest) highest = v; if (v < lowest) lowest = v; }
  logarithmic.disabled = !(lowest > 0);
  logarithmic.checked = lowest > 0 && highest > 4 * finite[Math.floor(0.98 * (finite.length - 1))];
  let range = [first, last];

  function traces() {
    const most = 2 * Math.max(300, chart.clientWidth || 800);
    const cut = (one) => reduced(one.x, one.y, Math.max(0, below(one.x, range[0]) - 1),
      Math.min(one.x.length, below(one.x, range[1] + 1) + 1), most);
    const close = range[1] - range[0] <= 60;
    const drawn = series.map((one) => ({
      ...cut(one), name: short(one.name, narrow() ? 24 : 40), type: "scatter", mode: close ? "lines+markers" : "lines", connectgaps: false,
      line: { color: line(one.colour), width: one.colour === "ink" ? 2.2 : one.child ? 1.6 : 1, dash: one.child ? "dash" : "solid" },
      marker: { size: 5 }, opacity: one.colour === "faint" ? 0.75 : 1,
      hovertemplate: `%{x:,d}: %{y:.4g}<extra>${short(one.name, 60)}</extra>`,
    }));
    if (more) drawn.push({ x: [null], y: [null], name: `and ${more} more heads, not drawn`, mode: "lines", line: { color: "rgba(0,0,0,0)" } });
    if (rate) drawn.push({ ...cut(rate), type: "scatter", mode: "lines", yaxis: "y2", showlegend: false,
      line: { color: colour("ink"), width: 1.4 }, hovertemplate: "%{x:,d}: %{y:.4g}<extra>learning rate</extra>" });
    for (const one of accuracies) drawn.push({ x: one.x, y: one.y, name: short(one.name), type: "scatter", mode: "lines+markers",
      yaxis: "y3", line: { color: one.colour, width: 1.4 }, marker: { size: 5 }, legend: "legend2", showlegend: !narrow(),
      hovertemplate: `%{x:,d}: %{y:.4f}<extra>${short(one.name, 60)}</extra>` });
    const marks = (rows, at, symbol, colours, sizes, text) => drawn.push({ x: rows.map((r) => r.iteration), y: rows.map(() => at),
      type: "scatter", mode: "markers", yaxis: "y4", showlegend: false, cliponaxis: false,
      marker: { symbol, color: colours, size: sizes, line: { width: 1.2, color: colours } }, text: rows.map(text), hovertemplate: "%{text}<extra></extra>" });
    if (snapshots.length) marks(snapshots, 0.015, snapshots.map((s) => (s.good ? "triangle-up" : "triangle-up-open")),
      snapshots.map((s) => colour(s.good ? "good" : "open")), snapshots.map((s) => (s.last ? 15 : 9)),
      (s) => `snapshot of iteration ${s.iteration.toLocaleString("en")}${s.last ? ": the last good one" : s.good ? "" : ", after the onset"}`);
    if (alarms.length) marks(alarms, 0.985, "triangle-down", colour("bad"), 9,
      (a) => `iteration ${a.iteration.toLocaleString("en")}, ${short(a.text, 160)}`);
    return drawn;
  }

  function panels() {
    const parts = [["", accuracies.length ? [0.48, 1] : rate ? [0.3, 1] : [0, 1]]];
    if (rate) parts.push(["2", accuracies.length ? [0.3, 0.42] : [0, 0.22]]);
    if (accuracies.length) parts.push(["3", [0, 0.24]]);
    const foot = parts[parts.length - 1][0];
    const roof = Math.max(highest, ...levels.map((l) => l.value)) * 1.08;
    const axes = {
      xaxis: { range: [range[0] - 0.5, range[1] + 0.5], title: { text: "iteration" }, anchor: `y${foot}`, tickformat: ",d", zeroline: false },
      yaxis: { title: { text: "loss" }, domain: parts[0][1], type: logarithmic.checked ? "log" : "linear", zeroline: false, dtick: logarithmic.checked ? "D2" : undefined,
        range: logarithmic.checked ? [Math.log10(lowest) - 0.05, Math.log10(roof) + 0.02] : [Math.min(0, lowest), roof] },
      yaxis4: { domain: parts[0][1], range: [0, 1], overlaying: "y", visible: false, fixedrange: true },
    };
    if (rate) axes.yaxis2 = { title: { text: "lr" }, domain: parts[1][1], rangemode: "tozero", nticks: 4, zeroline: false, exponentformat: "power" };
    if (accuracies.length) axes.yaxis3 = { title: { text: "test<br>accuracy" }, domain: [0, 0.24], range: [-0.03, 1.06], zeroline: false, fixedrange: true };
    return axes;
  }

  function shapes() {
    const bands = windows.map(([a, b]) => ({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: a - 0.5, x1: b - 0.5,
      fillcolor: colour("window"), opacity: 0.3, line: { width: 0 }, layer: "below" }));
    const dashes = levels.map((l) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: l.value, y1: l.value, layer: "below",
      line: { color: colour("faint"), width: 1, dash: "dash" } }));
    return [...bands, ...dashes, ...(about.onset === null ? [] : [upright(about.onset)])];
  }
  function notes() {
    const place = narrow() ? { x: 0.99, xanchor: "right", yshift: 8 } : { x: 1.005, xanchor: "left" };
    const [low, high] = panels().yaxis.range, room = 13, height = 0.4 * (chart.clientHeight || 600);
    let foot = -Infinity;  // pixels: labels that would touch are moved apart
    const beside = [...levels].sort((a, b) => a.value - b.value).map((l) => {
      const y = logarithmic.checked ? Math.log10(l.value) : l.value, at = ((y - low) / (high - low)) * height;
      foot = Math.max(at, foot + room);
      return { ...place, xref: "paper", y, yshift: (place.yshift ?? 0) + foot - at, text: plain(l.text), showarrow: false, font: { size: 11, color: colour("open") } };
    });
    if (about.onset !== null) beside.push({ x: about.onset, y: 1, yref: "paper", yanchor: "bottom", showarrow: false,
      text: `onset ${about.onset.toLocaleString("en")}`, font: { size: 11, color: colour("bad") } });
    return beside;
  }

  function draw() {
    [from.value, to.value] = range;
    return Plotly.react(chart, traces(), layout({
      ...panels(), shapes: shapes(), annotations: notes(), showlegend: true, margin: { l: narrow() ? 52 : 72, r: narrow() ? 16 : 160, t: narrow() ? 30 + 13 * lines.length : 64 + 8 * lines.length, b: 44 },
      legend: { orientation: "h", x: 0, y: 1.06, yanchor: "bottom", font: { size: narrow() ? 9 : 11 } },
      legend2: { x: 1.005, y: 0.24, yanchor: "top", font: { size: 11 } },
    }), settings);
  }
  function zoom(a, b) {
    a = Math.round(a); b = Math.round(b);
    if (b >= a) range = [Math.max(first, Math.min(a, last)), Math.min(last, Math.max(b, first))];
    draw();  // what was refused too: the fields and the axis show what is drawn
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
  const around = document.querySelector('[data-zoom="onset"]');
  around.hidden = about.onset === null;
  const moves = {
    in: (a, b) => (b - a < 3 ? [Math.floor((a + b) / 2), Math.floor((a + b) / 2)] : [a + (b - a) / 4, b - (b - a) / 4]),
    out: (a, b) => [a - Math.max(1, (b - a) / 2), b + Math.max(1, (b - a) / 2)],
    left: (a, b) => { const by = Math.min(Math.max(1, (b - a) / 2), a - first); return [a - by, b - by]; },
    right: (a, b) => { const by = Math.min(Math.max(1, (b - a) / 2), last - b); return [a + by, b + by]; },
    all: () => [first, last],
    onset: () => [about.onset - 20, about.onset + 40],
  };
  for (const button of document.querySelectorAll("[data-zoom]"))
    button.addEventListener("click", () => zoom(...moves[button.dataset.zoom](...range)));
  redraws.push(draw);
}

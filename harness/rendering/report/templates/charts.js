"use strict";
// Draws the page's charts. Without it, or on paper, the page shows pictures instead.
(async () => {
  const $ = (id) => document.getElementById(id);
  const about = JSON.parse($("about").textContent);
  if (!about.losses || typeof DecompressionStream === "undefined") return;

  async function unpacked(id) {
    const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }
  const library = document.createElement("script");
  library.textContent = new TextDecoder().decode(await unpacked("plotly"));
  document.head.append(library);

  // bytes of the same significance stand together: put each word's four side by side again
  const planes = new Uint8Array(await unpacked("arrays"));
  const count = planes.length / 4;
  const words = new Uint8Array(planes.length);
  for (let i = 0; i < count; i++) for (let b = 0; b < 4; b++) words[4 * i + b] = planes[b * count + i];
  const floats = new Float32Array(words.buffer);
  const whole = new Int32Array(words.buffer);
  const array = (ref) =>
    ref.from !== undefined
      ? Int32Array.from({ length: ref.length }, (_, i) => ref.from + i)
      : (ref.kind === "i" ? whole : floats).subarray(ref.at, ref.at + ref.length);

  document.documentElement.classList.add("ready");

  // -- what all charts share -----------------------------------------------------------------------------------------

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const line = (name) => (name.startsWith("#") ? name : colour(name));
  // plotly reads a little HTML in its texts
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, most = 30) =>
    plain(text.length > most ? text.slice(0, most / 2) + "…" + text.slice(1 - most / 2) : text);
  const number = (value) =>
    Number.isFinite(value) ? String(Number(value.toPrecision(4))) : Number.isNaN(value) ? "not taken" : "not finite";
  const narrow = () => innerWidth < 640;
  const settings = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const redraws = [];

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

  // -- losses --------------------------------------------------------------------------------------------------------

  // Rows lo … hi - 1 of y, or, of more than there is room for, the lowest and the highest of equal shares.
  function reduced(x, y, lo, hi, most) {
    const rows = [];
    if (hi - lo <= most) for (let i = lo; i < hi; i++) rows.push(i);
    else {
      const shares = most / 2;
      for (let s = 0; s < shares; s++) {
        const from = lo + Math.floor((s * (hi - lo)) / shares), to = lo + Math.floor(((s + 1) * (hi - lo)) / shares);
        let low = from, high = from;
        for (let i = from; i < to; i++) {
          const size = Number.isFinite(y[i]) ? y[i] : Infinity;
          if (size < y[low]) low = i;
          if (!(size <= y[high])) high = i;
        }
        rows.push(Math.min(low, high));
        if (low !== high) rows.push(Math.max(low, high));
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
    const { lines, lr, accuracies, levels, windows, snapshots, alarms } = about.losses;
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
        hovertemplate: `%{x:,d}: %{y:.5g}<extra>${short(one.name, 60)}</extra>`,
      }));
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
      const top = finite.length ? finite[Math.floor(0.999 * (finite.length - 1))] : 1;
      const roof = Math.max(highest, ...levels.map((l) => l.value)) * 1.08;
      const axes = {
        xaxis: { range: [range[0] - 0.5, range[1] + 0.5], title: { text: "iteration" }, anchor: `y${foot}`, tickformat: ",d", zeroline: false },
        yaxis: { title: { text: "loss" }, domain: parts[0][1], type: logarithmic.checked ? "log" : "linear", zeroline: false, dtick: logarithmic.checked ? "D2" : undefined,
          range: logarithmic.checked ? [Math.log10(lowest) - 0.05, Math.log10(roof) + 0.02] : [Math.min(0, lowest), roof] },
        yaxis4: { domain: parts[0][1], range: [0, 1], overlaying: "y", visible: false, fixedrange: true },
      };
      if (rate) axes.yaxis2 = { title: { text: narrow() ? "lr" : "learning<br>rate" }, domain: parts[1][1], rangemode: "tozero", nticks: 4, zeroline: false, exponentformat: "power" };
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
      const beside = levels.map((l) => ({ ...place, xref: "paper", y: logarithmic.checked ? Math.log10(l.value) : l.value,
        text: plain(l.text), showarrow: false, font: { size: 11, color: colour("open") } }));
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
      if (!(b >= a)) return;
      range = [Math.max(first, Math.min(a, last)), Math.min(last, Math.max(b, first))];
      draw();
    }
    draw().then(() => {
      chart.on("plotly_relayout", (event) => {
        if (event["xaxis.autorange"]) zoom(first, last);
        else if (event["xaxis.range[0]"] !== undefined) zoom(Math.ceil(event["xaxis.range[0]"]), Math.floor(event["xaxis.range[1]"]));
      });
      chart.on("plotly_doubleclick", () => { zoom(first, last); return false; });
    });
    for (const input of [from, to]) input.addEventListener("change", () => zoom(+from.value, +to.value));
    logarithmic.addEventListener("change", draw);
    const around = document.querySelector('[data-zoom="onset"]');
    around.hidden = about.onset === null;
    const moves = {
      in: (a, b) => [a + (b - a) / 4, b - (b - a) / 4],
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

  // -- layers × time -------------------------------------------------------------------------------------------------

  const SIZES = "Cividis";
  const DISTANCES = [[0, "#4b2a85"], [0.25, "#9d8cc4"], [0.5, "#f2f1ef"], [0.75, "#eda35b"], [1, "#a34a05"]];

  function layers() {
    const form = $("layers-controls"), chart = $("layers"), curve = $("curve"), rows = form.elements.row;
    const { spans, titles, farthest, blobs, offender, first_blob } = about.layers;
    const sheets = {};
    for (const span of Object.keys(spans)) for (const quantity of Object.keys(spans[span])) {
      const sheet = spans[span][quantity];
      sheets[`${span} ${quantity}`] = { ...sheet, start: array(sheet.start), stop: array(sheet.stop), values: array(sheet.values), distance: array(sheet.distance) };
    }
    const kept = { iterations: array(blobs.iterations) };
    for (const kind of ["gradient", "weight", "update"]) kept[kind] = array(blobs[kind]);
    let chosen = null;
    const current = () => sheets[`${form.elements.span.value} ${form.elements.quantity.value}`];
    const usual = () => (form.elements.quantity.value === "zeros" ? first_blob : offender);

    // What is taken now and then stays until it is taken again.
    function matrix(sheet, values, held) {
      const columns = sheet.start.length;
      return sheet.rows.map((_, r) => {
        const row = Array.from(values.subarray(r * columns, (r + 1) * columns));
        if (held) for (let c = 1; c < columns; c++) if (Number.isNaN(row[c])) row[c] = row[c - 1];
        return row;
      });
    }

    function draw() {
      const sheet = current(), quantity = form.elements.quantity.value, far = form.elements.distance.checked;
      const zeros = quantity === "zeros", columns = sheet.start.length;
      const values = matrix(sheet, sheet.values, zeros), distances = matrix(sheet, sheet.distance, zeros);
      const shown = far ? distances : values;
      const z = shown.map((row) => row.map((v) => (!Number.isFinite(v) ? null : far || zeros ? v : Math.log10(Math.max(v, 1e-30)))));
      const sizes = values.flat().filter((v) => Number.isFinite(v) && v > 0).sort((a, b) => a - b);
      const low = far ? -farthest : zeros ? 0 : Math.log10(sizes[Math.floor(0.02 * sizes.length)] ?? 1e-3);
      const high = far ? farthest : zeros ? 1 : Math.max(Math.log10(sizes[sizes.length - 1] ?? 1), low + 0.1);
      const x = Array.from(sheet.start);
      if (columns) x.push(sheet.stop[columns - 1]);
      const edges = x.map((v) => v - 0.5);
      const y = sheet.rows.map((_, i) => i);
      const hover = sheet.rows.map((name, r) => values[r].map((v, c) => {
        const when = sheet.stop[c] - sheet.start[c] > 1 ? `${sheet.start[c].toLocaleString("en")} … ${(sheet.stop[c] - 1).toLocaleString("en")}` : sheet.start[c].toLocaleString("en");
        const away = Number.isFinite(distances[r][c]) ? `<br>${distances[r][c].toFixed(1)} standard deviations from its past` : "";
        return `${short(name, 80)}<br>iteration ${when}<br>${number(v)}${away}`;
      }));
      const ticks = [...new Set(Array.from({ length: 40 }, (_, i) => Math.round((i * (y.length - 1)) / 39)))].filter((i) => i >= 0 && i < y.length);
      const scale = [];
      for (let d = Math.ceil(low); d <= high; d++) scale.push(d);
      const bar = far ? { title: { text: "standard deviations", side: "right" } }
        : zeros ? { title: { text: "share", side: "right" } }
        : { tickvals: scale, ticktext: scale.map((d) => `10<sup>${d}</sup>`), title: { text: quantity === "ratio" ? "ratio" : "norm", side: "right" } };
      const heat = { type: "heatmap", x: edges, y, z, zmin: low, zmax: high, colorscale: far ? DISTANCES : SIZES, text: hover,
        hovertemplate: "%{text}<extra></extra>", colorbar: { thickness: 12, ...bar, tickfont: { size: 10 } }, showscale: !narrow() };
      const broken = { type: "heatmap", x: edges, y, z: values.map((row) => row.map((v) => (v === Infinity ? 1 : null))), zmin: 0, zmax: 1,
        colorscale: [[0, "#d60000"], [1, "#d60000"]], showscale: false, text: hover, hovertemplate: "%{text}<extra></extra>" };
      const marked = usual();
      const height = Math.max(320, Math.min(900, 90 + 13 * y.length));
      chart.style.height = `${height}px`;
      fill(sheet);
      return Plotly.react(chart, [heat, broken], layout({
        height, title: { text: plain(titles[quantity]), font: { size: 13 }, x: 0, xanchor: "left" },
        margin: { l: narrow() ? 110 : 210, r: narrow() ? 10 : 80, t: 34, b: 44 },
        xaxis: { title: { text: "iteration" }, tickformat: ",d", zeroline: false, showgrid: false },
        yaxis: { autorange: "reversed", tickvals: ticks, ticktext: ticks.map((i) => (sheet.rows[i] === marked ? "▶ " : "") + short(sheet.rows[i], narrow() ? 16 : 30)),
          tickfont: { size: narrow() ? 8 : 10 }, zeroline: false, showgrid: false },
        shapes: about.onset !== null && columns && about.onset >= sheet.start[0] && about.onset < sheet.stop[columns - 1]
          ? [upright(about.onset - 0.5, { line: { color: far ? "#111111" : "#ffffff", width: 1.5, dash: "dot" } })] : [],
      }), settings);
    }

    function fill(sheet) {
      const wanted = sheet.rows.includes(chosen) ? chosen : sheet.rows.includes(usual()) ? usual() : sheet.rows[0];
      rows.replaceChildren(...sheet.rows.map((name) => new Option(name, name, false, name === wanted)));
      if (wanted !== undefined) show(wanted);
    }

    function show(name) {
      chosen = name;
      rows.value = name;
      const sheet = current(), quantity = form.elements.quantity.value, row = sheet.rows.indexOf(name);
      const columns = sheet.start.length, values = sheet.values.subarray(row * columns, (row + 1) * columns);
      const points = { x: [], y: [] };
      values.forEach((v, c) => { if (!Number.isNaN(v)) { points.x.push(sheet.start[c]); points.y.push(Number.isFinite(v) ? v : null); } });
      const traces = [{ ...points, type: "scatter", mode: points.x.length < 200 ? "lines+markers" : "lines", name: short(name, 40), line: { color: colour("ink"), width: 2 }, marker: { size: 4 },
        hovertemplate: "%{x:,d}: %{y:.4g}<extra></extra>" }];
      if (form.elements.span.value === "around" && quantity !== "zeros") {
        const length = kept.iterations.length;
        const of = (kind, p) => Array.from(kept[kind].subarray(p * length, (p + 1) * length));
        const own = blobs.layers.flatMap((layer, p) => (layer === name ? [p] : []));
        if (own.length > 1) own.forEach((p, n) => {
          const y = quantity === "ratio" ? of("update", p).map((u, i) => u / of("weight", p)[i]) : of(quantity, p);
          traces.push({ x: Array.from(kept.iterations), y: y.map((v) => (Number.isFinite(v) ? v : null)), type: "scatter", mode: "lines", name: short(blobs.labels[p], 40),
            line: { width: 1.2, color: ["#0072B2", "#E69F00", "#CC79A7", "#009E73"][n % 4] }, hovertemplate: "%{x:,d}: %{y:.4g}<extra></extra>" });
        });
      }
      $("curve-title").textContent = `${name}: ${titles[quantity]}`;
      chart.dataset.row = name;
      Plotly.react(curve, traces, layout({
        margin: { l: 64, r: narrow() ? 16 : 30, t: 26, b: 44 }, showlegend: traces.length > 1, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
        xaxis: { title: { text: "iteration" }, tickformat: ",d", zeroline: false },
        yaxis: quantity === "zeros" ? { range: [-0.02, 1.02], title: { text: "share of zeros" } }
          : { type: "log", title: { text: quantity === "ratio" ? "‖update‖ / ‖weight‖" : `‖${quantity}‖` }, exponentformat: "power" },
        shapes: about.onset === null ? [] : [upright(about.onset)],
      }), settings);
    }

    draw().then(() => chart.on("plotly_click", (event) => show(current().rows[event.points[0].y])));
    form.addEventListener("change", (event) => (event.target === rows ? show(rows.value) : draw()));
    form.addEventListener("submit", (event) => event.preventDefault());
    redraws.push(draw);
  }

  // -- the window ----------------------------------------------------------------------------------------------------

  function kept() {
    const form = $("window-controls");
    if (!form || !about.window.length) return;
    const params = form.elements.param;
    params.replaceChildren(...about.window.map((p) => new Option(p.label, p.label, false, p.label === about.first)));
    const colours = () => [colour("good"), colour("bad"), "#0072B2", colour("ink")];
    function draw() {
      const param = about.window.find((p) => p.label === params.value) || about.window[0];
      $("window-shape").textContent = param.shape;
      for (const kind of ["weight", "gradient"]) {
        const part = param.spectra[kind];
        if (!part) { $(kind).hidden = true; continue; }
        const shares = array(part.shares), bins = shares.length / about.moments.length;
        const edges = Array.from({ length: bins + 1 }, (_, i) => 10 ** (part.from + (i * (part.to - part.from)) / bins));
        const traces = about.moments.map((moment, n) => {
          const share = shares.subarray(n * bins, (n + 1) * bins), more = [];
          if (part.zero[n] > 0.005) more.push(`${(100 * part.zero[n]).toFixed(0)} % zero`);
          if (part.nonfinite[n]) more.push(`${(100 * part.nonfinite[n]).toPrecision(2)} % not finite`);
          return { x: edges, y: [...share, share[bins - 1]], type: "scatter", mode: "lines", name: [moment, ...more].join(", "),
            line: { shape: "hv", color: colours()[n % 4], width: 1.8, dash: ["solid", "solid", "dash", "dot"][n % 4] }, hovertemplate: "%{x:.3g}: %{y:.2f} %<extra></extra>" };
        });
        Plotly.react($(kind), traces, layout({
          margin: { l: 54, r: 12, t: 20, b: 110 }, showlegend: true, legend: { orientation: "h", y: -0.25, x: 0, font: { size: 10 } },
          xaxis: { type: "log", title: { text: `|${kind}| of an element` }, exponentformat: "power", zeroline: false },
          yaxis: { title: { text: "elements, %" }, rangemode: "tozero", zeroline: false },
        }), settings);
      }
      const body = document.querySelector("#elements tbody");
      if (!body) return;
      $("elements-of").textContent = param.label;
      body.replaceChildren(...param.elements.map((element) => {
        const row = document.createElement("tr");
        for (const key of ["index", "weight", "gradient", "update"]) {
          const cell = row.insertCell();
          cell.textContent = element[key];
          if (key !== "index") cell.className = "n";
        }
        return row;
      }));
    }
    draw();
    form.addEventListener("change", draw);
    form.addEventListener("submit", (event) => event.preventDefault());
    redraws.push(draw);
  }

  losses();
  if (about.layers) layers();
  if (about.window) kept();

  for (const button of document.querySelectorAll("button.copy"))
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
      button.textContent = "copied";
    });
  dark.addEventListener("change", () => redraws.forEach((draw) => draw()));
  document.documentElement.dataset.drawn = "yes";
})();

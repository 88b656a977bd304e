// Layers × time, and the curve of one of them.

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

// Heat maps of layers over iterations, and the curve of one layer or blob.

function drawLayers() {
  const form = $("layers-controls"), chart = $("layers"), curve = $("curve"), select = form.elements.row;
  const { spans, titles, farthest, blobs, offender, first_blob } = page.layers;
  const { values: valueColours, distances: distanceColours, nonfinite: nonfiniteColour, lines: lineColours } = page.palette;
  const heatmaps = {};
  for (const span of Object.keys(spans)) for (const quantity of Object.keys(spans[span])) {
    const packed = spans[span][quantity];
    heatmaps[`${span} ${quantity}`] = { ...packed, start: array(packed.start), stop: array(packed.stop), values: array(packed.values), distance: array(packed.distance) };
  }
  const norms = { iterations: array(blobs.iterations) };
  for (const kind of ["gradient", "weight", "update"]) norms[kind] = array(blobs[kind]);
  let chosen = null;
  const current = () => heatmaps[`${form.elements.span.value} ${form.elements.quantity.value}`];
  const firstAbnormal = () => (form.elements.quantity.value === "zeros" ? first_blob : offender);

  const isIn = (heatmap, iteration) => iteration >= heatmap.start[0] && iteration < heatmap.stop[heatmap.stop.length - 1];
  const inside = (heatmap) => page.losses.takeovers.filter((one) => isIn(heatmap, one.iteration));

  // Rows of values. With `hold`, a column without a measurement repeats the one before it.
  function matrix(heatmap, values, hold) {
    const columns = heatmap.start.length;
    return heatmap.rows.map((_, r) => {
      const row = Array.from(values.subarray(r * columns, (r + 1) * columns));
      if (hold) for (let c = 1; c < columns; c++) if (Number.isNaN(row[c])) row[c] = row[c - 1];
      return row;
    });
  }

  function draw() {
    const heatmap = current(), quantity = form.elements.quantity.value, asDistance = form.elements.distance.checked;
    const zeros = quantity === "zeros", columns = heatmap.start.length;
    const values = matrix(heatmap, heatmap.values, zeros), distances = matrix(heatmap, heatmap.distance, zeros);
    const shown = asDistance ? distances : values;
    const z = shown.map((row) => row.map((v) => (!Number.isFinite(v) ? null : asDistance || zeros ? v : Math.log10(Math.max(v, 1e-30)))));
    const sizes = values.flat().filter((v) => Number.isFinite(v) && v > 0).sort((a, b) => a - b);
    const usual = sizes[Math.floor(0.9 * (sizes.length - 1))];
    const most = Math.log10(Math.min(sizes[sizes.length - 1] ?? 1, 1e4 * (usual ?? 1))), least = Math.log10(sizes[Math.floor(0.02 * sizes.length)] ?? 1e-3);
    const high = asDistance ? farthest : zeros ? 1 : most;
    const low = asDistance ? -farthest : zeros ? 0 : Math.max(Math.min(least, most - 0.1), most - 8);  // less is as good as 0
    const x = Array.from(heatmap.start);
    if (columns) x.push(heatmap.stop[columns - 1]);
    const edges = x.map((v) => v - 0.5);
    const y = heatmap.rows.map((_, i) => i);
    const hover = heatmap.rows.map((name, r) => values[r].map((v, c) => {
      const when = heatmap.stop[c] - heatmap.start[c] > 1 ? `${thousands(heatmap.start[c])} … ${thousands(heatmap.stop[c] - 1)}` : thousands(heatmap.start[c]);
      const away = Number.isFinite(distances[r][c]) ? `<br>${distances[r][c].toFixed(1)} standard deviations from its baseline` : "";
      return `${shortened(name, 80)}<br>iteration ${when}<br>${number(v)}${away}`;
    }));
    const ticks = [...new Set(Array.from({ length: 40 }, (_, i) => Math.round((i * (y.length - 1)) / 39)))].filter((i) => i >= 0 && i < y.length);
    const decades = logTicks(low, high);
    const bar = asDistance ? { title: { text: "standard deviations", side: "right" } }
      : zeros ? { title: { text: "share", side: "right" } }
      : { tickvals: decades.positions, ticktext: decades.texts, title: { text: quantity === "ratio" ? "ratio" : "norm", side: "right" } };
    const finite = { type: "heatmap", x: edges, y, z, zmin: low, zmax: high, colorscale: asDistance ? distanceColours : valueColours, text: hover,
      hovertemplate: "%{text}<extra></extra>", colorbar: { thickness: 12, ...bar, tickfont: { size: 10 } }, showscale: !isNarrow() };
    const nonfinite = { type: "heatmap", x: edges, y, z: values.map((row) => row.map((v) => (v === Infinity ? 1 : null))), zmin: 0, zmax: 1,
      colorscale: [[0, nonfiniteColour], [1, nonfiniteColour]], showscale: false, text: hover, hovertemplate: "%{text}<extra></extra>" };
    const marked = firstAbnormal(), lineOnMap = asDistance ? "#111111" : "#ffffff";
    const height = Math.max(320, Math.min(900, 90 + 13 * y.length));
    chart.style.height = `${height}px`;
    fillSelect(heatmap);
    return Plotly.react(chart, [finite, nonfinite], layout({
      height, title: { text: escaped(titles[quantity]), font: { size: 13 }, x: 0, xanchor: "left" },
      margin: { l: isNarrow() ? 110 : 210, r: isNarrow() ? 10 : 80, t: 34, b: 44 },
      xaxis: { title: { text: "iteration" }, tickformat: ",d", zeroline: false, showgrid: false },
      yaxis: { autorange: "reversed", tickvals: ticks, ticktext: ticks.map((i) => (heatmap.rows[i] === marked ? "▶ " : "") + shortened(heatmap.rows[i], isNarrow() ? 16 : 30)),
        tickfont: { size: isNarrow() ? 8 : 10 }, zeroline: false, showgrid: false },
      shapes: [...takeoverLines(inside(heatmap), lineOnMap), ...(page.onset !== null && isIn(heatmap, page.onset)
        ? [verticalLine(page.onset - 0.5, { line: { color: lineOnMap, width: 1.5, dash: "dot" } })] : [])],
    }), config);
  }

  function fillSelect(heatmap) {
    const wanted = [chosen, firstAbnormal(), heatmap.rows[0]].find((name) => heatmap.rows.includes(name));
    select.replaceChildren(...heatmap.rows.map((name) => new Option(name, name, false, name === wanted)));
    if (wanted !== undefined) drawCurve(wanted);
  }

  // What the row shows: its value at the onset, and what it was before.
  function finding(heatmap, values, quantity) {
    const at = page.onset === null ? -1 : heatmap.start.findIndex((start, c) => start <= page.onset && page.onset < heatmap.stop[c]);
    const before = Array.from(values.subarray(0, Math.max(at, 0))).filter(Number.isFinite).sort((a, b) => a - b);
    let column = at;
    while (quantity === "zeros" && column >= 0 && column < values.length && Number.isNaN(values[column])) column++;
    if (at < 0 || !before.length || column >= values.length || Number.isNaN(values[column])) return titles[quantity];
    const median = before[before.length >> 1], now = values[column];
    const times = quantity !== "zeros" && median > 0 && Number.isFinite(now) ? `, ${number(Number((now / median).toPrecision(3)))} times its median before` : `, median before ${number(median)}`;
    return `${titles[quantity].split(" per ")[0]} ${number(now)} at iteration ${thousands(heatmap.start[column])}${times}`;
  }

  function curveAxis(traces) {
    const sizes = traces.flatMap((trace) => trace.y.filter((v) => v > 0 && Number.isFinite(v))).sort((a, b) => a - b);
    if (!sizes.length) return {};
    const low = Math.max(sizes[0], sizes[Math.floor(0.9 * (sizes.length - 1))] / 1e10);  // what is smaller, as good as 0, leaves the chart
    return logAxis(Math.log10(low) - 0.08, Math.log10(sizes[sizes.length - 1]) + 0.08);
  }

  function drawCurve(name) {
    chosen = name;
    select.value = name;
    const heatmap = current(), quantity = form.elements.quantity.value, row = heatmap.rows.indexOf(name);
    const columns = heatmap.start.length, values = heatmap.values.subarray(row * columns, (row + 1) * columns);
    const points = { x: [], y: [] };
    values.forEach((v, c) => { if (!Number.isNaN(v)) { points.x.push(heatmap.start[c]); points.y.push(Number.isFinite(v) ? v : null); } });
    const traces = [{ ...points, type: "scatter", mode: points.x.length < 200 ? "lines+markers" : "lines", name: shortened(name, 40), line: { color: themeColour("ink"), width: 2 }, marker: { size: 4 },
      hovertemplate: "%{x:,d}: %{y:.4g}<extra></extra>" }];
    if (form.elements.span.value === "around" && quantity !== "zeros") {
      const length = norms.iterations.length;
      const of = (kind, p) => Array.from(norms[kind].subarray(p * length, (p + 1) * length));
      const own = blobs.layers.flatMap((layer, p) => (layer === name ? [p] : []));
      if (own.length > 1) own.forEach((p, n) => {
        const y = quantity === "ratio" ? of("update", p).map((u, i) => u / of("weight", p)[i]) : of(quantity, p);
        traces.push({ x: Array.from(norms.iterations), y: y.map((v) => (Number.isFinite(v) ? v : null)), type: "scatter", mode: "lines", name: shortened(blobs.labels[p], 40),
          line: { width: 1.2, color: lineColours[n % 4] }, hovertemplate: "%{x:,d}: %{y:.4g}<extra></extra>" });
      });
    }
    $("curve-title").textContent = `${page.run}, ${name}: ${finding(heatmap, values, quantity)}`;
    chart.dataset.row = name;
    Plotly.react(curve, traces, layout({
      margin: { l: 64, r: isNarrow() ? 16 : 30, t: 26, b: 44 }, showlegend: traces.length > 1, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      xaxis: { title: { text: "iteration" }, tickformat: ",d", zeroline: false },
      yaxis: quantity === "zeros" ? { range: [-0.02, 1.02], title: { text: "zero fraction" } }
        : { ...curveAxis(traces), title: { text: quantity === "ratio" ? "‖update‖ / ‖weight‖" : `‖${quantity}‖` } },
      shapes: [...takeoverLines(inside(heatmap)), ...(page.onset === null ? [] : [verticalLine(page.onset)])],
    }), config);
  }

  draw().then(() => chart.on("plotly_click", (event) => drawCurve(current().rows[event.points[0].y])));
  form.addEventListener("change", (event) => (event.target === select ? drawCurve(select.value) : draw()));
  form.addEventListener("submit", (event) => event.preventDefault());
  redraws.push(draw);
}

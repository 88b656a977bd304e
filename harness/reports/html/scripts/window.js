// The contents of a window: the distributions of a param blob.

function drawWindow() {
  const form = $("window-controls");
  if (!form) return;
  const params = form.elements.param;
  params.replaceChildren(...page.window.map((p) => new Option(p.label, p.label, false, p.label === page.offender)));
  const dashes = ["solid", "solid", "dash", "dot"];
  function draw() {
    const param = page.window.find((p) => p.label === params.value) || page.window[0];
    $("window-shape").textContent = param.shape;
    for (const kind of ["weight", "gradient"]) {
      const distribution = param.distributions[kind];
      if (!distribution) { $(kind).parentElement.hidden = true; continue; }
      const { from, to, zero, nonfinite, change } = distribution;
      const [[earlier, before], [later, after]] = change;
      $(`${kind}-title`).textContent = `${page.run}, ${param.label}: largest ${kind} ${number(before)} → ${number(after)} (iterations ${thousands(earlier)} → ${thousands(later)})`;
      const shares = array(distribution.shares), bins = shares.length / page.moments.length;
      const edges = Array.from({ length: bins + 1 }, (_, i) => 10 ** (from + (i * (to - from)) / bins));
      const traces = page.moments.map((moment, n) => {
        const share = shares.subarray(n * bins, (n + 1) * bins), more = [];
        if (zero[n] > 0.005) more.push(`${(100 * zero[n]).toFixed(0)}% zero`);
        if (nonfinite[n]) more.push(`${Math.min(100, 100 * nonfinite[n]).toFixed(nonfinite[n] < 0.01 ? 2 : 0)}% not finite`);
        return { x: edges, y: [...share, share[bins - 1]], type: "scatter", mode: "lines", name: [moment, ...more].join(", "),
          line: { shape: "hv", color: page.palette.moments[n % 4], width: 1.8, dash: dashes[n % 4] }, hovertemplate: "%{x:.3g}: %{y:.2f}%<extra></extra>" };
      });
      Plotly.react($(kind), traces, layout({
        margin: { l: 54, r: 12, t: 20, b: 110 }, showlegend: true, legend: { orientation: "h", y: -0.25, x: 0, font: { size: 10 } },
        xaxis: { ...logAxis(from, to), title: { text: `magnitude of a ${kind} element` }, zeroline: false },
        yaxis: { title: { text: "elements (%)" }, rangemode: "tozero", zeroline: false },
      }), config);
    }
  }
  draw();
  form.addEventListener("change", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  redraws.push(draw);
}

// What a window kept: spectra and largest elements.

function kept() {
  const form = $("window-controls");
  if (!form) return;
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
        if (part.nonfinite[n]) more.push(`${Math.min(100, 100 * part.nonfinite[n]).toFixed(part.nonfinite[n] < 0.01 ? 2 : 0)} % not finite`);
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

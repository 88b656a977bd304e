// Draws the page's charts. Without this, or on paper, the page shows pictures instead.

async function unpacked(id) {
  const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

// Bytes of the same significance stand together there: each word's four are put side by side again.
async function numbers() {
  const planes = new Uint8Array(await unpacked("arrays"));
  const count = planes.length / 4, words = new Uint8Array(planes.length);
  for (let i = 0; i < count; i++) for (let b = 0; b < 4; b++) words[4 * i + b] = planes[b * count + i];
  const floats = new Float32Array(words.buffer), whole = new Int32Array(words.buffer);
  return (ref) =>
    ref.from !== undefined
      ? Int32Array.from({ length: ref.length }, (_, i) => ref.from + i)
      : (ref.kind === "i" ? whole : floats).subarray(ref.at, ref.at + ref.length);
}

(async () => {
  if (!about.losses || typeof DecompressionStream === "undefined") return;
  const library = document.createElement("script");
  library.textContent = new TextDecoder().decode(await unpacked("plotly"));
  document.head.append(library);
  array = await numbers();
  document.documentElement.classList.add("ready");

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

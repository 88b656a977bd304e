// Draws the charts of the page. Without scripts, and in print, the page shows images instead.

async function decompressed(id) {
  const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

// The packed arrays store first the lowest byte of every 4-byte word, then the second one, and so on.
async function readArrays() {
  const planes = new Uint8Array(await decompressed("arrays"));
  const count = planes.length / 4, words = new Uint8Array(planes.length);
  for (let i = 0; i < count; i++) for (let b = 0; b < 4; b++) words[4 * i + b] = planes[b * count + i];
  const floats = new Float32Array(words.buffer), integers = new Int32Array(words.buffer);
  return (ref) =>
    ref.from !== undefined
      ? Int32Array.from({ length: ref.length }, (_, i) => ref.from + i)
      : (ref.kind === "i" ? integers : floats).subarray(ref.at, ref.at + ref.length);
}

(async () => {
  if (!page.losses || typeof DecompressionStream === "undefined") return;
  const library = document.createElement("script");
  library.textContent = new TextDecoder().decode(await decompressed("plotly"));
  document.head.append(library);
  array = await readArrays();
  document.documentElement.classList.add("ready");

  drawLosses();
  if (page.layers) drawLayers();
  if (page.window) drawWindow();

  for (const button of document.querySelectorAll("button.copy"))
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy ?? button.parentElement.querySelector("code").textContent);
      button.textContent = "copied";
    });
  dark.addEventListener("change", () => redraws.forEach((draw) => draw()));
  document.documentElement.dataset.drawn = "yes";
})();

// The class under the cursor: the hidden picture of ids beside the overlay holds it.
(() => {
  const read = new WeakMap();

  function pixels(ids) {
    if (!read.has(ids)) {
      const canvas = document.createElement("canvas");
      canvas.width = ids.naturalWidth;
      canvas.height = ids.naturalHeight;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(ids, 0, 0);
      read.set(ids, context);
    }
    return read.get(ids);
  }

  document.addEventListener("mousemove", (event) => {
    const overlay = event.target;
    if (!overlay.classList || !overlay.classList.contains("stseg-overlay")) return;
    const ids = overlay.parentElement.querySelector(".stseg-ids");
    const under = overlay.parentElement.querySelector(".stseg-under");
    if (!ids.complete || !ids.naturalWidth) return;
    const box = overlay.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * ids.naturalWidth);
    const y = Math.floor(((event.clientY - box.top) / box.height) * ids.naturalHeight);
    if (x < 0 || y < 0 || x >= ids.naturalWidth || y >= ids.naturalHeight) return;
    const [low, high, sure] = pixels(ids).getImageData(x, y, 1, 1).data;
    const name = JSON.parse(ids.dataset.names)[low + 256 * high];
    under.textContent = `${name} (${(sure / 255).toFixed(2)})`;  // as text: a name is no HTML
  });
})();

// What the shades and marks of the strip mean.

const scale = document.getElementById("scale");
const TICKS = {
  probability: [["0", 0], ["0.25", 0.25], ["0.5", 0.5], ["0.75", 0.75], ["1", 1]],
  logarithm: [["≤ 10⁻⁵", 0], ["10⁻⁴", 0.2], ["0.001", 0.4], ["0.01", 0.6], ["0.1", 0.8], ["1", 1]],
};

function drawScale() {
  const swatches = element("div", "swatches");
  for (let level = 0; level < LEVELS; level++) swatches.append(element("span", `p${level}`));
  const ticks = element("div", "ticks");
  for (const [text, at] of TICKS[state.shade]) {
    const tick = element("span", "", text);
    tick.style.left = `${100 * at}%`;
    ticks.append(tick);
  }
  scale.replaceChildren(swatches, ticks);
}

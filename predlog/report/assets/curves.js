// The controls of the curves: names that hide and show lines, and how much they are smoothed. `updateCurves` takes new data.

const chips = document.getElementById("chips");
const smoothing = document.getElementById("smoothing");
const smoothingValue = document.getElementById("smoothing-value");
// Records after which a value counts half, for each place of the slider.
const HALF_LIVES = [0, 5, 10, 20, 50, 100, 200, 500, 1000];
let namesInLegend = "";
// The codebooks of which streams are listed.
const listed = new Set();

// A name that is pressed while its line is drawn. Pointing at it makes the others faint, unless it has no line.
function chip(key, name, title, colours, set, isOn) {
  const made = element("button", "chip");
  const says = () => made.setAttribute("aria-pressed", String(isOn()));
  made.type = "button";
  made.dataset.key = key;
  made.title = title;
  made.append(element("span", "swatch"), element("span", "", name));
  made.style.setProperty("--colour", `light-dark(${colours.light}, ${colours.dark})`);
  says();
  const emphasise = (isPointedAt) => {
    emphasised = isPointedAt && isOn() ? (one) => [one.key, runKey(one.run)].includes(key) : null;
    plots.forEach(drawPlot);
  };
  made.addEventListener("click", () => {
    if (!set.delete(key)) set.add(key);
    says();
    emphasised = null;
    drawPlots();
  });
  made.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && emphasise(true));
  made.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && emphasise(false));
  return made;
}

const GREY = { light: "#59626f", dark: "#a0a9b5" };
const hidingChip = (key, name, colours) => chip(key, name, name, colours, chosen.hidden, () => !chosen.hidden.has(key));

function group(name) {
  const made = element("div", `group ${name}`);
  made.append(element("span", "group-name", name));
  return made;
}

function runChips() {
  if (!hasRuns()) return [];
  const made = group("runs");
  made.append(...curves.runs.map((run, place) => hidingChip(runKey(place), run.name, run)));
  return [made];
}

function streamChips() {
  const made = group("streams");
  curves.streams.forEach((stream, place) => {
    const shown = series.filter((one) => one.stream === place && !one.isSingle);
    if (!shown.length) return;
    const most = shown.find((one) => one.isBand);
    const [lane] = shown[0].lanes;
    const name = most || lane.codebook === null ? stream.name : `${stream.name} codebook ${lane.codebook}`;
    const button = hidingChip(streamKey(place), name, hasRuns() ? GREY : most ? stream : lane);
    button.classList.toggle("is-band", Boolean(most));
    if (hasRuns()) button.classList.add(DASHES[place % DASHES.length]);
    made.append(button);
  });
  return [made];
}

// The codebooks of each stream that has several: none is shown at first but in the band.
function codebookChips() {
  return curves.streams.flatMap((stream, place) => {
    const lanes = new Map();
    for (const one of series) if (one.isSingle && one.stream === place) lanes.set(one.key, one.lanes[0]);
    if (!lanes.size) return [];
    const made = element("details", "codebooks");
    const key = streamKey(place);
    made.open = listed.has(key);
    made.addEventListener("toggle", () => (made.open ? listed.add(key) : listed.delete(key)));
    const box = element("div", "group");
    const ordered = [...lanes].sort(([, one], [, other]) => (one.codebook ?? -1) - (other.codebook ?? -1));
    box.append(...ordered.map(([key, lane]) => {
      const name = String(lane.codebook ?? "none");
      return chip(key, name, `${stream.name} codebook ${name}`, hasRuns() ? GREY : lane, chosen.codebooks, () => chosen.codebooks.has(key));
    }));
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", `Single codebooks of ${stream.name}`);
    made.append(element("summary", "", `Single codebooks of ${stream.name} (${lanes.size})`), box);
    return [made];
  });
}

// The names are made anew only if there are other ones, so that the focus stays where it is.
function fillLegend() {
  const names = JSON.stringify([curves.runs.map((run) => run.name), series.map((one) => [one.run, one.key])]);
  if (names === namesInLegend) return;
  namesInLegend = names;
  const focused = chips.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  chips.replaceChildren(...runChips(), ...streamChips(), ...codebookChips());
  if (focused !== undefined) [...chips.querySelectorAll(".chip")].find((one) => one.dataset.key === focused)?.focus();
}

function smoothBy(place) {
  chosen.halfLife = HALF_LIVES[place] ?? 0;
  const says = chosen.halfLife ? `half-life ${chosen.halfLife} records` : "off";
  smoothingValue.textContent = says;
  smoothing.setAttribute("aria-valuetext", says);
  forgetPoints();
}

// Draw other data in place, of the form that the page has in `curves-data`: zoom, hidden lines and smoothing stay.
function updateCurves(data) {
  takeCurves(data);
  fillLegend();
  drawPlots();
}

async function drawCurves() {
  takeCurves(JSON.parse(document.getElementById("curves-data").textContent));
  const root_ids = Object.keys(roots);
  await Bokeh.embed.embed_items({ here: plotted }, [{ docid: "here", roots, root_ids }]);
  fillLegend();
  plots.forEach(listen);
  model("steps").change.connect(followZoom);
  smoothing.max = HALF_LIVES.length - 1;
  smoothBy(Number(smoothing.value));
  smoothing.addEventListener("input", () => {
    smoothBy(Number(smoothing.value));
    drawPlots();
  });
  for (const hidden of document.querySelectorAll("#curves [data-needs-script]")) hidden.hidden = false;
  repainted.push(paintPlots);
  paintPlots();
  document.getElementById("curves").dataset.drawn = "";
}

// Bokeh is at the end of the page, so that the strip is drawn first.
document.addEventListener("DOMContentLoaded", () => requestAnimationFrame(() => setTimeout(drawCurves)));

// The values under the pointer, as they were recorded, also where the lines are smoothed.

const NEAREST = 9;
const MARK_REACH = 8;

const WRITTEN = {
  share: (value) => `${(100 * value).toFixed(1)}%`,
  nats,
  logprob: (value) => value.toFixed(3),
  rank: (value) => (Number.isInteger(value) ? String(value) : value.toFixed(1)),
};

// The point with a value that is nearest to a step, or -1. With all attempts, steps come again, so they are not sorted.
function nearestPoint(steps, values, step) {
  let best = -1;
  for (let at = 0; at < steps.length; at++) {
    if (Number.isNaN(values[at])) continue;
    if (best < 0 || Math.abs(steps[at] - step) < Math.abs(steps[best] - step)) best = at;
  }
  return best;
}

function valuesAt(plot, step) {
  return visibleSeries().flatMap((one) => {
    const points = pointsOf(one, plot.name);
    if (!points) return [];
    const { axis, raw, codebooks } = points;
    const at = nearestPoint(axis.step, raw, step);
    if (at < 0) return [];
    return [{ one, from: axis.first[at], to: axis.last[at], value: raw[at], codebooks, at }];
  });
}

function entry({ one, value, codebooks, at }, plot) {
  const written = WRITTEN[plot.written];
  const swatch = element("span", "swatch");
  swatch.style.setProperty("--colour", colourOf(one.colours));
  const name = element("span", "name", one.title);
  if (codebooks) {
    const { low, high, lowest, highest } = codebooks;
    name.append(element("div", "soft", `${written(low[at])} (${lowest[at] ?? "none"}) to ${written(high[at])} (${highest[at] ?? "none"})`));
  }
  return [swatch, name, element("span", "", written(value))];
}

const stepsOf = (from, to) => (from === to ? `step ${from}` : `steps ${from} to ${to}`);

function marksNear(plot, step) {
  const { start, end } = model("steps");
  const reach = (MARK_REACH * (end - start)) / model(plot.name).inner_width;
  const ofRun = ({ run, says }) => (hasRuns() ? `${curves.runs[run].name}: ${says}` : says);
  return visibleMarks().filter((mark) => Math.abs(mark.step - step) <= reach).map(ofRun)
    .concat(visibleGaps().filter((gap) => step >= gap.first - reach && step <= gap.last + reach).map(ofRun));
}

function fillReadout(plot, event) {
  const readout = figureOf(plot).querySelector(".readout");
  const found = valuesAt(plot, event.x);
  const noted = marksNear(plot, event.x);
  readout.hidden = !found.length && !noted.length;
  if (readout.hidden) return;
  const y = (value) => (plot.written === "rank" ? Math.log(value) : value);
  const nearest = found.sort((a, b) => Math.abs(y(a.value) - y(event.y)) - Math.abs(y(b.value) - y(event.y))).slice(0, NEAREST).sort((a, b) => b.value - a.value);
  const values = element("div", "values");
  values.append(...nearest.flatMap((each) => entry(each, plot)));
  const one = nearest[0];
  const parts = one ? [element("div", "", stepsOf(one.from, one.to)), values] : [];
  if (found.length > nearest.length) parts.push(element("div", "soft", `and ${found.length - nearest.length} more`));
  if (one && chosen.halfLife) parts.push(element("div", "soft", "as recorded, not smoothed"));
  parts.push(...noted.slice(0, 4).map((text) => element("div", "mark", text)));
  readout.replaceChildren(...parts);
  placeReadout(plot, readout, event);
}

function placeReadout(plot, readout, event) {
  const box = figureOf(plot);
  const host = document.getElementById(`plot-${plot.name}`);
  const left = event.sx + host.offsetLeft;
  const isLeft = left > box.clientWidth / 2;
  readout.style.left = isLeft ? "" : `${left + 16}px`;
  readout.style.right = isLeft ? `${box.clientWidth - left + 16}px` : "";
  readout.style.top = `${host.offsetTop + 8}px`;
}

function pointAtStep(step) {
  for (const plot of plots) {
    const cursor = model(`cursor-${plot.name}`);
    cursor.location = step;
    cursor.visible = step !== null;
  }
}

function leave() {
  pointAtStep(null);
  for (const plot of plots) figureOf(plot).querySelector(".readout").hidden = true;
}

function listen(plot) {
  const drawnPlot = model(plot.name);
  const follow = (event) => {
    pointAtStep(event.x);
    fillReadout(plot, event);
  };
  for (const name of ["mousemove", "tap"]) drawnPlot.on_event(name, follow);
  drawnPlot.on_event("mouseleave", leave);
  figureOf(plot).addEventListener("pointerleave", leave);
  // On a touch screen a drag scrolls the page.
  if (window.matchMedia("(pointer: coarse)").matches) drawnPlot.toolbar.tools = [];
}

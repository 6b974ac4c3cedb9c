// The curves: Bokeh draws them; the names of lines and the values under the pointer are added here, as text and never as markup.

const { document: plotted, roots, lines, marks, gaps, plots } = JSON.parse(document.getElementById("curves-data").textContent);
const chips = document.getElementById("chips");
const NEAREST = 9;
const MARK_REACH = 8;

const model = (name) => Bokeh.documents.at(-1).get_model_by_name(name);
const figureOf = (plot) => document.getElementById(`figure-${plot.name}`);
const colourOf = (line) => (isDark() ? line.dark : line.light);

const WRITTEN = {
  share: (value) => `${(100 * value).toFixed(1)}%`,
  nats,
  logprob: (value) => value.toFixed(3),
  rank: (value) => (Number.isInteger(value) ? String(value) : value.toFixed(1)),
};

function hide(line, isHidden) {
  line.isHidden = isHidden;
  for (const plot of plots) for (const kind of ["line", "dots"]) {
    const renderer = model(`${kind}-${lines.indexOf(line)}-${plot.name}`);
    if (renderer) renderer.visible = !isHidden;
  }
}

function emphasise(line) {
  for (const [place, each] of lines.entries()) for (const plot of plots) {
    const { glyph } = model(`line-${place}-${plot.name}`);
    glyph.line_width = each === line ? 3.5 : 1.8;
    glyph.line_alpha = line === null || each === line ? 1 : 0.25;
  }
}

function chip(line) {
  const made = element("button", "chip");
  made.type = "button";
  made.setAttribute("aria-pressed", "true");
  made.append(element("span", "swatch"), element("span", "", line.name));
  made.title = line.title;
  made.addEventListener("click", () => {
    hide(line, !line.isHidden);
    made.setAttribute("aria-pressed", String(!line.isHidden));
  });
  made.addEventListener("pointerenter", () => line.isHidden || emphasise(line));
  made.addEventListener("pointerleave", () => emphasise(null));
  repainted.push(() => made.style.setProperty("--colour", colourOf(line)));
  return made;
}

function fillChips() {
  let group = "";
  for (const line of lines) {
    if (line.group && line.group !== group) chips.append(element("span", "group", line.group));
    group = line.group;
    chips.append(chip(line));
  }
}

// The point nearest to a step. With all attempts, steps come again, so they are not sorted.
function nearestPoint(steps, step) {
  let best = 0;
  for (let at = 1; at < steps.length; at++) {
    if (Math.abs(steps[at] - step) < Math.abs(steps[best] - step)) best = at;
  }
  return best;
}

function valuesAt(plot, step) {
  return lines.filter((line) => !line.isHidden).map((line) => {
    const { data } = model(`points-${lines.indexOf(line)}`);
    const at = nearestPoint(data.step, step);
    return { line, from: data.first[at], to: data.last[at], middle: data.step[at], value: data[plot.name][at] };
  }).filter(({ value }) => Number.isFinite(value));
}

function entry({ line, value }, plot) {
  const swatch = element("span", "swatch");
  swatch.style.setProperty("--colour", colourOf(line));
  return [swatch, element("span", "name", line.title), element("span", "", WRITTEN[plot.written](value))];
}

const stepsOf = (from, to) => (from === to ? `step ${from}` : `steps ${from} to ${to}`);

function marksNear(plot, step) {
  const { start, end } = model("steps");
  const reach = (MARK_REACH * (end - start)) / model(plot.name).inner_width;
  return marks.filter((mark) => Math.abs(mark.step - step) <= reach).map((mark) => mark.says)
    .concat(gaps.filter((gap) => step >= gap.first - reach && step <= gap.last + reach).map((gap) => gap.says));
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

const css = (name) => {
  const probe = element("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

function paintPlots() {
  const colours = Object.fromEntries(["soft", "line", "bad", "warn", "good"].map((name) => [name, css(name)]));
  for (const plot of plots) {
    const drawnPlot = model(plot.name);
    for (const axis of [...drawnPlot.below, ...drawnPlot.left]) {
      axis.major_label_text_color = axis.axis_label_text_color = colours.soft;
      axis.axis_line_color = axis.major_tick_line_color = colours.line;
    }
    for (const grid of drawnPlot.center) if (grid.type === "Grid") grid.grid_line_color = colours.line;
    model(`cursor-${plot.name}`).line_color = colours.soft;
    const strips = model(`gaps-${plot.name}`).glyph;
    strips.fill_color = strips.line_color = colours.soft;
    for (const [place, line] of lines.entries()) {
      model(`line-${place}-${plot.name}`).glyph.line_color = colourOf(line);
      const { glyph } = model(`dots-${place}-${plot.name}`);
      glyph.fill_color = glyph.line_color = colourOf(line);
    }
    for (const [level, name] of [["error", "bad"], ["warning", "warn"], ["info", "good"]]) {
      const { glyph } = model(`mark-${level}-${plot.name}`);
      glyph.fill_color = glyph.line_color = colours[name];
      model(`rule-${level}-${plot.name}`).glyph.line_color = colours[name];
    }
  }
}

async function drawCurves() {
  const root_ids = Object.keys(roots);
  await Bokeh.embed.embed_items({ here: plotted }, [{ docid: "here", roots, root_ids }]);
  fillChips();
  plots.forEach(listen);
  repainted.push(paintPlots);
  repaint();
  document.getElementById("curves").dataset.drawn = "";
}

// Bokeh is at the end of the page, so that the strip is drawn first.
document.addEventListener("DOMContentLoaded", () => requestAnimationFrame(() => setTimeout(drawCurves)));

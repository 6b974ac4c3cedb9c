// The plots: Bokeh draws what `lines.js` has, in the columns of its sources, so that new data and new lines need no new model.

const { document: plotted, roots, plots } = JSON.parse(document.getElementById("plots-data").textContent);
let emphasised = null;
let zoom = null;
let whole_range = [0, 1];

const model = (name) => Bokeh.documents.at(-1).get_model_by_name(name);
const figureOf = (plot) => document.getElementById(`figure-${plot.name}`);
const colourOf = ({ light, dark }) => (isDark() ? dark : light);
const put = (name, columns) => (model(name).data_source.data = columns);

const isFaint = (one) => emphasised !== null && !emphasised(one);

// The stretches of points that follow one another with a value.
function* stretches(values) {
  let from = -1;
  for (let at = 0; at <= values.length; at++) {
    const isThere = at < values.length && !Number.isNaN(values[at]);
    if (isThere && from < 0) from = at;
    if (!isThere && from >= 0) {
      yield [from, at];
      from = -1;
    }
  }
}

function drawBands(plot, drawn) {
  // Bands of several runs lie over one another.
  const alpha = 0.07 + 0.15 / Math.max(drawn.filter(({ one }) => one.isBand).length, 1);
  const columns = { xs: [], ys: [], colour: [], alpha: [] };
  for (const { one, points } of drawn) {
    if (!one.isBand) continue;
    for (const [from, to] of stretches(points.low)) {
      const steps = points.axis.step.subarray(from, to);
      columns.xs.push(Float64Array.of(...steps, ...steps.toReversed()));
      columns.ys.push(Float64Array.of(...points.high.subarray(from, to), ...points.low.subarray(from, to).toReversed()));
      columns.colour.push(colourOf(one.colours));
      columns.alpha.push(isFaint(one) ? 0.04 : alpha);
    }
  }
  put(`bands-${plot.name}`, columns);
}

// With more points than these, their dots would hide the line.
const MOST_DOTS = 60;

// Dots of a line with few points, and of a point that no line shows, because its neighbours have no value.
function dotsOf(values) {
  const alone = [];
  const every = [];
  for (const [from, to] of stretches(values)) {
    if (to - from === 1) alone.push(from);
    for (let at = from; at < to; at++) every.push(at);
  }
  return every.length <= MOST_DOTS ? every : alone;
}

function drawLines(plot, drawn) {
  const raw = { xs: [], ys: [], colour: [], alpha: [], width: [], dash: [] };
  const lines = { xs: [], ys: [], colour: [], alpha: [], width: [], dash: [] };
  const dots = { x: [], y: [], colour: [], alpha: [] };
  const add = (columns, steps, values, one, alpha, width) => {
    const row = { xs: steps, ys: values, colour: colourOf(one.colours), alpha: isFaint(one) ? alpha / 4 : alpha, width, dash: one.dash };
    for (const [name, value] of Object.entries(row)) columns[name].push(value);
  };
  for (const { one, points } of drawn) {
    const { step } = points.axis;
    if (points.drawn !== points.raw) add(raw, step, points.raw, { ...one, dash: "solid" }, 0.35, 1);
    add(lines, step, points.drawn, one, 1, emphasised && !isFaint(one) ? one.width + 1.7 : one.width);
    for (const at of dotsOf(points.drawn)) {
      dots.x.push(step[at]);
      dots.y.push(points.drawn[at]);
      dots.colour.push(colourOf(one.colours));
      dots.alpha.push(isFaint(one) ? 0.25 : 1);
    }
  }
  put(`raw-${plot.name}`, raw);
  put(`lines-${plot.name}`, lines);
  put(`dots-${plot.name}`, dots);
}

const isRunVisible = ({ run }) => !hasRuns() || !chosen.hidden.has(runKey(run));
const visibleMarks = () => curves.marks.filter(isRunVisible);
const visibleGaps = () => curves.gaps.filter(isRunVisible);

function drawMarks(plot) {
  const gaps = visibleGaps();
  put(`gaps-${plot.name}`, { x0: gaps.map((gap) => gap.first), x1: gaps.map((gap) => gap.last) });
  for (const level of ["error", "warning", "info"]) {
    const step = visibleMarks().filter((mark) => mark.level === level).map((mark) => mark.step);
    put(`mark-${level}-${plot.name}`, { step, top: step.map(() => 0.965) });
  }
}

function drawPlot(plot) {
  figureOf(plot).hidden = !curves.lanes.some((lane) => lane[plot.name]);
  const drawn = visibleSeries().map((one) => ({ one, points: pointsOf(one, plot.name) })).filter(({ points }) => points);
  drawBands(plot, drawn);
  drawLines(plot, drawn);
  drawMarks(plot);
}

// --- ranges -------------------------------------------------------------------------------------------------------

function extent(arrays, isIn = () => true) {
  let [low, high] = [Infinity, -Infinity];
  for (const { steps, values } of arrays) for (let at = 0; at < values.length; at++) {
    if (!Number.isFinite(values[at]) || !isIn(steps[at])) continue;
    low = Math.min(low, values[at]);
    high = Math.max(high, values[at]);
  }
  return low <= high ? [low, high] : null;
}

function stepsShown() {
  const visible = visibleSeries();
  const axes = new Set((visible.length ? visible.flatMap((one) => one.lanes) : curves.lanes).map((lane) => lane.axis));
  const [low, high] = extent([...axes].flatMap(({ first, last }) => [first, last].map((values) => ({ steps: values, values })))) ?? [0, 1];
  const room = (high - low) * 0.02 || Math.max(Math.abs(high) * 0.02, 1);
  return [low - room, high + room];
}

// A rank has a logarithmic axis; shares begin at 0 unless a range of steps is looked at closely.
function valuesShown(plot) {
  const arrays = visibleSeries().flatMap((one) => {
    const points = pointsOf(one, plot.name);
    if (!points) return [];
    return [points.raw, points.drawn, points.low, points.high].filter(Boolean).map((values) => ({ steps: points.axis.step, values }));
  });
  const isIn = zoom ? (step) => step >= zoom[0] && step <= zoom[1] : () => true;
  const found = extent(arrays, isIn) ?? extent(arrays);
  if (!found) return null;
  const [low, high] = found;
  if (plot.written === "rank") return [Math.max(low / 1.3, 0.85), Math.max(high * 1.3, 3 * low)];
  const room = (high - low) * 0.06 || Math.max(Math.abs(high) * 0.06, 1e-3);
  if (plot.written === "share") return zoom ? [Math.max(low - room, -0.002), high + room] : [0, Math.max(high * 1.04, 0.01)];
  return [low >= 0 ? Math.max(low - room, 0) : low - room, high <= 0 ? Math.min(high + room, 0) : high + room];
}

let isFitting = false;

function fit() {
  isFitting = true;
  const steps = model("steps");
  whole_range = stepsShown();
  const [start, end] = zoom ?? whole_range;
  steps.setv({ reset_start: whole_range[0], reset_end: whole_range[1] });
  steps.setv({ start, end });
  for (const plot of plots) {
    const found = valuesShown(plot);
    if (found) model(`values-${plot.name}`).setv({ start: found[0], end: found[1] });
  }
  isFitting = false;
}

// A drag over a plot, or its buttons, have changed the range of steps.
function followZoom() {
  if (isFitting) return;
  const { start, end } = model("steps");
  zoom = start === whole_range[0] && end === whole_range[1] ? null : [start, end];
  queueMicrotask(fit); // the tool sets the other axis after this one
}

function drawPlots() {
  plots.forEach(drawPlot);
  fit();
}

// --- colours ------------------------------------------------------------------------------------------------------

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
    for (const [level, name] of [["error", "bad"], ["warning", "warn"], ["info", "good"]]) {
      const { glyph } = model(`mark-${level}-${plot.name}`);
      glyph.fill_color = glyph.line_color = colours[name];
      model(`rule-${level}-${plot.name}`).glyph.line_color = colours[name];
    }
  }
  drawPlots();
}

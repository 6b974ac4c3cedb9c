// What the plots draw: lines of streams and single codebooks, and of several codebooks their band; smoothed or not.

const NEVER = Number.NaN;
let curves = { runs: [], streams: [], axes: [], lanes: [], marks: [], gaps: [] };
let series = [];
// What the reader has chosen; kept by name, so that new data leaves it as it is.
const chosen = { hidden: new Set(), codebooks: new Set(), halfLife: 0 };
let smoothedLanes = new Map();
let pointsOfSeries = new Map();

const hasRuns = () => curves.runs.length > 1;
const runKey = (run) => `run ${curves.runs[run].name}`;
const streamKey = (stream) => `stream ${curves.streams[stream].name}`;
const codebookKey = (stream, codebook) => `codebook ${codebook} of ${curves.streams[stream].name}`;

// Of plain JSON to what can be drawn. Points without a value are NaN, which interrupts a line.
function takeCurves(data) {
  curves = { ...data };
  curves.axes = data.axes.map(({ first, last, records, tokens }) => ({
    first, last, records, tokens, step: Float64Array.from(first, (from, at) => from / 2 + last[at] / 2),
  }));
  curves.lanes = data.lanes.map((lane) => {
    const values = plots.map(({ name }) => [name, lane[name] && Float64Array.from(lane[name], (value) => value ?? NEVER)]);
    return { ...lane, axis: curves.axes[lane.axis], ...Object.fromEntries(values) };
  });
  series = [...groupsOfLanes()].flatMap(seriesOf);
  forgetPoints();
}

function forgetPoints() {
  smoothedLanes = new Map();
  pointsOfSeries = new Map();
}

function* groupsOfLanes() {
  const groups = new Map();
  for (const lane of curves.lanes) {
    const key = `${lane.run} ${lane.stream}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(lane);
  }
  yield* groups.values();
}

const DASHES = ["solid", "dashed", "dotted", "dotdash", "dashdot"];

// A stream without codebooks, or with one, is a line. One with several is their band and mean, and single lines on demand.
function seriesOf(lanes) {
  const { run, stream } = lanes[0];
  const ofRun = curves.runs[run];
  const common = { run, stream, dash: hasRuns() ? DASHES[stream % DASHES.length] : "solid", width: 1.8 };
  const title = (name) => (hasRuns() ? `${ofRun.name}: ${name}` : name);
  const { name } = curves.streams[stream];
  const nameOfLane = (lane) => (lane.codebook === null ? name : `${name} codebook ${lane.codebook}`);
  const colours = (one) => (hasRuns() ? ofRun : one);
  const plain = (lane) => ({ ...common, key: streamKey(stream), title: title(nameOfLane(lane)), lanes: [lane], colours: colours(lane) });
  if (lanes.length === 1) return [plain(lanes[0])];
  const band = { ...common, key: streamKey(stream), title: title(`${name}, mean of ${lanes.length} codebooks`), lanes, colours: colours(curves.streams[stream]), isBand: true };
  const single = (lane) => ({ ...plain(lane), key: codebookKey(stream, lane.codebook), isSingle: true, width: 1.4 });
  return [band, ...lanes.map(single)];
}

function isVisible(one) {
  if (hasRuns() && chosen.hidden.has(runKey(one.run))) return false;
  return one.isSingle ? chosen.codebooks.has(one.key) : !chosen.hidden.has(one.key);
}

const visibleSeries = () => series.filter(isVisible);

// Of these figures a record counts as much as it has supervised tokens, as in the table of streams; of the others, as one.
const BY_TOKENS = new Set(["loss", "accuracy", "entropy"]);

// At each point an exponential mean of the values up to it, which begins anew where steps do. A value counts half as
// much after so many more records; divided by what has been counted, the first values are not drawn towards 0.
function exponentialMean(values, axis, weights, halfLife) {
  const means = new Float64Array(values.length).fill(NEVER);
  let [sum, weight] = [0, 0];
  for (let at = 0; at < values.length; at++) {
    if (at && axis.first[at] < axis.first[at - 1]) [sum, weight] = [0, 0];
    if (Number.isNaN(values[at])) continue;
    const kept = 0.5 ** (axis.records[at] / halfLife);
    sum = sum * kept + values[at] * weights[at];
    weight = weight * kept + weights[at];
    means[at] = weight ? sum / weight : values[at];
  }
  return means;
}

function smoothed(lane, name) {
  const values = lane[name];
  if (!chosen.halfLife || !values) return values;
  if (!smoothedLanes.has(lane)) smoothedLanes.set(lane, {});
  const known = smoothedLanes.get(lane);
  known[name] ??= exponentialMean(values, lane.axis, BY_TOKENS.has(name) ? lane.axis.tokens : lane.axis.records, chosen.halfLife);
  return known[name];
}

// The values of a lane at the steps of another one: exactly where both have a point, else on the line between two.
function valuesOn(axis, lane, values) {
  if (lane.axis === axis) return values;
  const points = [...lane.axis.step.keys()].filter((at) => !Number.isNaN(values[at]));
  points.sort((one, other) => lane.axis.step[one] - lane.axis.step[other]);
  const steps = points.map((at) => lane.axis.step[at]);
  return Float64Array.from(axis.step, (step) => {
    if (!points.length || step < steps[0] || step > steps.at(-1)) return NEVER;
    let [low, high] = [0, steps.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle + 1;
      else high = middle;
    }
    const before = Math.max(low - 1, 0);
    const [from, to] = [values[points[before]], values[points[low]]];
    return steps[low] === step || low === before ? to : from + ((to - from) * (step - steps[before])) / (steps[low] - steps[before]);
  });
}

// The mean of several codebooks at each step, and the lowest and the highest, with the codebooks that have them.
function spread(axis, lanes, every) {
  const size = axis.step.length;
  const made = { mean: new Float64Array(size).fill(NEVER), low: new Float64Array(size).fill(NEVER), high: new Float64Array(size).fill(NEVER), lowest: [], highest: [] };
  for (let at = 0; at < size; at++) {
    let [sum, count, low, high] = [0, 0, -1, -1];
    every.forEach((values, place) => {
      if (Number.isNaN(values[at])) return;
      sum += values[at];
      count++;
      if (low < 0 || values[at] < every[low][at]) low = place;
      if (high < 0 || values[at] > every[high][at]) high = place;
    });
    if (!count) continue;
    made.mean[at] = sum / count;
    [made.low[at], made.high[at]] = [every[low][at], every[high][at]];
    [made.lowest[at], made.highest[at]] = [lanes[low].codebook, lanes[high].codebook];
  }
  return made;
}

// What is drawn of a series in a plot, and what is read off it; null if it has no value there.
function pointsOf(one, name) {
  const key = `${one.run} ${one.key} ${name}`;
  if (!pointsOfSeries.has(key)) pointsOfSeries.set(key, one.isBand ? pointsOfBand(one, name) : pointsOfLine(one, name));
  return pointsOfSeries.get(key);
}

function pointsOfLine({ lanes: [lane] }, name) {
  return lane[name] && { axis: lane.axis, raw: lane[name], drawn: smoothed(lane, name) };
}

function pointsOfBand({ lanes }, name) {
  const having = lanes.filter((lane) => lane[name]);
  if (!having.length) return null;
  const { axis } = having.reduce((best, lane) => (lane.axis.step.length > best.axis.step.length ? lane : best));
  const raw = spread(axis, having, having.map((lane) => valuesOn(axis, lane, lane[name])));
  const even = chosen.halfLife ? spread(axis, having, having.map((lane) => valuesOn(axis, lane, smoothed(lane, name)))) : raw;
  return { axis, raw: raw.mean, drawn: even.mean, low: even.low, high: even.high, codebooks: raw };
}

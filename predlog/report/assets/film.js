// The comparisons as rows of cells: the data in the page, or newer data of the same run.

let runs, streams, samples, first, last, rows, tokens, whole, texts, cells, ids, windows;
let columnCount = 0;
let starts = [];
let wholeStarts = [];
let everyRow = [];
let hasLoss = false;
let hasAttempts = false;

function load(columns) {
  ({ runs, streams, samples, first, last, rows, tokens, whole, texts, cells, ids, windows } = columns);
  columnCount = first + last;
  starts = startsOf(rows.count);
  wholeStarts = startsOf(whole.count);
  everyRow = newestFirst(rows.step.length);
  hasLoss = rows.loss.some((loss) => loss !== null);
  hasAttempts = new Set(rows.attempt).size > 1;
}

function startsOf(counts) {
  const made = [0];
  counts.forEach((count, row) => made.push(made[row] + count));
  return made;
}

const isSameStep = (one, other) => rows.step[one] === rows.step[other] && rows.attempt[one] === rows.attempt[other];

// All rows, the newest step first; the rows of a step stay in their order.
function newestFirst(count) {
  const order = [];
  for (let end = count, begin = count; end > 0; end = begin) {
    begin = end - 1;
    while (begin > 0 && isSameStep(begin - 1, begin)) begin--;
    for (let row = begin; row < end; row++) order.push(row);
  }
  return order;
}

// The token of a column, or -1: the first tokens start at the left edge, the last ones end at the right edge.
function tokenAt(row, column) {
  const firsts = rows.first[row];
  const place = column < first ? column : rows.count[row] - columnCount + column;
  const isThere = column < first ? place < firsts : place >= firsts;
  return isThere ? starts[row] + place : -1;
}

// The column in which a row has its nth token.
const columnOf = (row, nth) => (nth < rows.first[row] ? nth : columnCount - rows.count[row] + nth);

const textOf = (place) => (place < 0 ? null : (texts[place] ?? ids[place]));
// As it is drawn among others: in at most 12 cells.
const cellOf = (place) => cells[place] ?? textOf(place);
const isRight = (token) => tokens.match[token] === "1";
// Without parts of some ids, what is predicted is not known.
const isKnown = (token) => tokens.match[token] !== "?";

const tokenColumns = ["position", "label", "prediction", "label_logprob", "prediction_logprob", "label_rank", "input"];

// What is known of the token at a place among those of the strip.
function tokenOf(row, place) {
  return { ...Object.fromEntries(tokenColumns.map((name) => [name, tokens[name][place]])), match: isKnown(place) ? isRight(place) : null, column: columnOf(row, place - starts[row]) };
}

// What a screen reader says of a token after what one sees of it.
function described({ label, prediction, match, label_logprob, label_rank }) {
  if (match === null) return `label ${textOf(label)}, prediction not known`;
  const verdict = match ? "predicted correctly" : `predicted ${textOf(prediction) ?? "nan"}`;
  const p = label_logprob === null ? "not finite" : probability(label_logprob);
  return `label ${textOf(label)}, ${verdict}, probability ${p}, rank ${label_rank ?? "unknown"}`;
}

// The fields that identify a row, apart from its step.
const FIELDS = ["run", "stream", "codebook", "sample", "rank", "attempt"];
const valuesOf = (field, among) => [...new Set(among.map((row) => rows[field][row]))].sort((a, b) => (a ?? -1) - (b ?? -1));
const nameOf = (field, value) => (field === "run" ? runs[value] : field === "stream" ? streams[value] : field === "sample" ? samples[value] : value === null ? "none" : String(value));

// Two significant digits, as the console and a notebook show them.
function probability(logprob) {
  if (logprob === null) return "-";
  const value = Math.exp(Math.min(logprob, 0));
  if (value >= 0.0995) return value < 0.995 ? value.toFixed(2) : "1.0";
  if (value >= 0.00995) return value.toFixed(3);
  return value >= 1e-99 ? value.toExponential(1) : "<1e-99";
}

// A loss in three significant digits, as on the console.
function nats(loss) {
  if (loss === null || !Number.isFinite(loss)) return "-";
  const [, exponent] = loss.toExponential(2).split("e");
  const isPlain = exponent >= -4 && exponent < 3;
  return isPlain ? loss.toPrecision(3) : loss.toExponential(2).replace(/(e[+-])(\d)$/, "$10$2");
}

function share(right, of) {
  return of ? `${((100 * right) / of).toFixed(1)}%` : "-";
}

// How many predictions are correct: of all supervised tokens, or of those shown if only these were counted.
function rightOf(row) {
  const { matched, supervised, count } = rows;
  if (!supervised[row]) return { right: 0, of: 0, which: "supervised" };
  if (matched[row] !== null) return { right: matched[row], of: supervised[row], which: "supervised" };
  const shown = tokens.match.slice(starts[row], starts[row] + count[row]).replaceAll("?", "");
  return { right: shown.split("1").length - 1, of: shown.length, which: "shown" };
}

const LEVELS = 25;
const FAINTEST = Math.log(1e-5);

// The shade of a probability, in even steps of it or of its logarithm.
function levelOf(logprob, byLogarithm) {
  const t = byLogarithm ? Math.max(0, 1 - logprob / FAINTEST) : Math.exp(logprob);
  return Math.round(Math.min(t, 1) * (LEVELS - 1));
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

load(JSON.parse(document.getElementById("strip-data").textContent));

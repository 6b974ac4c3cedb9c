// The comparisons as rows of cells, read from the data in the page.

const { runs, streams, samples, first, last, rows, tokens, whole, texts, cells, ids, windows } = JSON.parse(document.getElementById("strip-data").textContent);
const COLUMNS = first + last;
const starts = [0];
rows.count.forEach((count, row) => starts.push(starts[row] + count));

// The token of a column, or -1: the first tokens start at the left edge, the last ones end at the right edge.
function tokenAt(row, column) {
  const firsts = rows.first[row];
  const place = column < first ? column : rows.count[row] - COLUMNS + column;
  const isThere = column < first ? place < firsts : place >= firsts;
  return isThere ? starts[row] + place : -1;
}

const textOf = (place) => (place < 0 ? null : (texts[place] ?? ids[place]));
// As it is drawn among others: in at most 12 cells.
const cellOf = (place) => cells[place] ?? textOf(place);
const isRight = (token) => tokens.match[token] === "1";

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
  const shown = tokens.match.slice(starts[row], starts[row] + count[row]);
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

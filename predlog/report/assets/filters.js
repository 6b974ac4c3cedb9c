// Which rows are shown, and how: the controls above the strip, and the same selection in the address after `#`.

const ALL = "all";
const state = { run: ALL, stream: ALL, codebook: ALL, sample: ALL, rank: ALL, attempt: ALL, shade: "probability", below: false };
const everyRow = rows.step.map((_, row) => row);
const selects = Object.fromEntries(FIELDS.map((field) => [field, document.getElementById(`by-${field}`)]));
const shadeSelect = document.getElementById("shade-by");
const belowBox = document.getElementById("predictions-below");

// The choices of a field depend on the run and the stream: text has no codebooks, audio may have eight.
const ABOVE = { run: [], stream: ["run"] };
const isChosen = (field, row) => state[field] === ALL || String(rows[field][row]) === state[field];
const rowsFor = (field) => everyRow.filter((row) => (ABOVE[field] ?? ["run", "stream"]).every((above) => isChosen(above, row)));
const choices = (field) => valuesOf(field, rowsFor(field));

// Of the choices, the one with the most rows: a sample that is followed through the run.
function mostFrequent(field) {
  const counts = new Map();
  for (const row of rowsFor(field)) counts.set(rows[field][row], (counts.get(rows[field][row]) ?? 0) + 1);
  const values = choices(field);
  return values.reduce((best, value) => (counts.get(value) > counts.get(best) ? value : best), values[0]);
}

function startingChoice(field) {
  if (field === "attempt") return ALL;
  return String(field === "sample" ? mostFrequent(field) : choices(field)[0]);
}

function fill(field) {
  const values = choices(field);
  if (state[field] !== ALL && !values.some((value) => String(value) === state[field])) state[field] = startingChoice(field);
  const options = values.map((value) => new Option(nameOf(field, value), String(value)));
  if (values.length > 1) options.push(new Option(`all ${values.length}`, ALL));
  else state[field] = String(values[0]);
  selects[field].replaceChildren(...options);
  selects[field].value = state[field];
  selects[field].disabled = values.length < 2;
  selects[field].closest("label").hidden = values.length < 2 && (field === "attempt" || field === "run" || (field === "codebook" && values[0] === null));
}

function fillAll() {
  FIELDS.forEach(fill);
  shadeSelect.value = state.shade;
  belowBox.checked = state.below;
}

const isShown = (row) => FIELDS.every((field) => isChosen(field, row));
const shownRows = () => everyRow.filter(isShown);
const openFields = () => FIELDS.filter((field) => state[field] === ALL && choices(field).length > 1);

function startAnew() {
  Object.assign(state, { shade: "probability", below: false });
  for (const field of FIELDS) state[field] = startingChoice(field);
}

// The address contains the names of streams. A value that is not one of the choices is ignored.
function takeFrom(hash) {
  const asked = new URLSearchParams(hash);
  startAnew();
  for (const field of FIELDS) {
    const wanted = asked.get(field);
    const found = choices(field).find((value) => nameOf(field, value) === wanted);
    if (wanted === ALL) state[field] = ALL;
    else if (found !== undefined) state[field] = String(found);
    else state[field] = startingChoice(field);
  }
  if (asked.get("shade") === "logarithm") state.shade = "logarithm";
  state.below = asked.get("predictions") === "below";
  return { step: asked.get("step"), nth: Number(asked.get("nth") ?? 0), token: Number(asked.get("token") ?? 0) };
}

function asHash(place) {
  const selected = new URLSearchParams();
  for (const field of FIELDS) {
    if (choices(field).length > 1) selected.set(field, state[field] === ALL ? ALL : nameOf(field, choices(field).find((value) => String(value) === state[field])));
  }
  if (state.shade !== "probability") selected.set("shade", state.shade);
  if (state.below) selected.set("predictions", "below");
  for (const [name, value] of Object.entries(place)) selected.set(name, value);
  return `#${selected}`;
}

let writing = 0;
// Browsers limit how often the address may change, so it is changed only after a pause.
function rememberInAddress(place) {
  clearTimeout(writing);
  writing = setTimeout(() => history.replaceState(null, "", asHash(place())), 300);
}

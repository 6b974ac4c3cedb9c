// Which rows are shown, and how: the controls over the strip, and the part of the address behind `#` that says the same.

const ALL = "all";
const state = { stream: ALL, codebook: ALL, sample: ALL, rank: ALL, attempt: ALL, shade: "probability", below: false };
const everyRow = rows.step.map((_, row) => row);
const selects = Object.fromEntries(FIELDS.map((field) => [field, document.getElementById(`by-${field}`)]));
const shadeSelect = document.getElementById("shade-by");
const belowBox = document.getElementById("predictions-below");

// What can be chosen in a field depends on the stream: text has no codebooks where audio has eight.
function choices(field) {
  const inStream = field === "stream" || state.stream === ALL;
  return valuesOf(field, inStream ? everyRow : everyRow.filter((row) => String(rows.stream[row]) === state.stream));
}

function startingChoice(field) {
  return field === "attempt" ? ALL : String(choices(field)[0]);
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
  selects[field].closest("label").hidden = values.length < 2 && (field === "attempt" || (field === "codebook" && values[0] === null));
}

function fillAll() {
  FIELDS.forEach(fill);
  shadeSelect.value = state.shade;
  belowBox.checked = state.below;
}

const isShown = (row) => FIELDS.every((field) => state[field] === ALL || String(rows[field][row]) === state[field]);
const shownRows = () => everyRow.filter(isShown);
const openFields = () => FIELDS.filter((field) => state[field] === ALL && choices(field).length > 1);

function startAnew() {
  Object.assign(state, { shade: "probability", below: false });
  for (const field of FIELDS) state[field] = startingChoice(field);
}

// The address names streams as people do; whatever else stands there must be one of the choices, or is passed over.
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
  const said = new URLSearchParams();
  for (const field of FIELDS) {
    if (choices(field).length > 1) said.set(field, state[field] === ALL ? ALL : nameOf(field, choices(field).find((value) => String(value) === state[field])));
  }
  if (state.shade !== "probability") said.set("shade", state.shade);
  if (state.below) said.set("predictions", "below");
  for (const [name, value] of Object.entries(place)) said.set(name, value);
  return `#${said}`;
}

let writing = 0;
// A browser takes an address that changes at each key for a fault, so it waits until there is a pause.
function rememberInAddress(place) {
  clearTimeout(writing);
  writing = setTimeout(() => history.replaceState(null, "", asHash(place())), 300);
}

// Which sample the text view shows, and at which step: its fields and its slider move the active row of the strip.

const textSelects = Object.fromEntries(FIELDS.map((field) => [field, document.getElementById(`text-${field}`)]));
const textSteps = document.getElementById("text-step");
const textHere = document.getElementById("text-here");
const earlier = document.getElementById("text-earlier");
const later = document.getElementById("text-later");
let sampleRows = [];

// The rows of the same sample, by the names of the strip, from the oldest step to the newest.
function stepsOfSample(row) {
  return everyRow.filter((other) => FIELDS.every((field) => rows[field][other] === rows[field][row])).reverse();
}

// The values that a field can have if the fields before it stay.
function textChoices(field, row) {
  const before = FIELDS.slice(0, FIELDS.indexOf(field));
  return valuesOf(field, everyRow.filter((other) => before.every((one) => rows[one][other] === rows[one][row])));
}

function fillTextFields(row) {
  for (const field of FIELDS) {
    const values = textChoices(field, row);
    textSelects[field].replaceChildren(...values.map((value) => new Option(nameOf(field, value), String(value))));
    textSelects[field].value = String(rows[field][row]);
    textSelects[field].disabled = values.length < 2;
    textSelects[field].closest("label").hidden = values.length < 2 && !["stream", "sample"].includes(field);
  }
}

function sayText(row, others) {
  sampleRows = others;
  fillTextFields(row);
  const at = others.indexOf(row);
  textSteps.max = others.length - 1;
  textSteps.value = at;
  textSteps.setAttribute("aria-valuetext", `step ${rows.step[row]}`);
  textSteps.disabled = others.length < 2;
  earlier.disabled = at <= 0;
  later.disabled = at >= others.length - 1;
  const { right, of } = rightOf(row);
  const parts = [`step ${rows.step[row]}`];
  if (rows.codebook[row] !== null) parts.push(`codebook ${rows.codebook[row]}`);
  parts.push(`sample ${nameOf("sample", rows.sample[row])}`);
  if (rows.loss[row] !== null) parts.push(`loss ${nats(rows.loss[row])}`);
  if (of) parts.push(`${share(right, of)} correct`);
  textHere.replaceChildren(element("bdi", "of", streams[rows.stream[row]]), ...parts.map((part, nth) => element("span", nth ? "rest" : "steps", part)));
}

// Of the rows that have this value, and the same before it in the order of the fields, the one that is most alike.
function rowWith(field, value) {
  const nth = FIELDS.indexOf(field);
  const isSame = (one) => (row) => rows[one][row] === rows[one][textRow];
  const fits = everyRow.filter((row) => String(rows[field][row]) === value && FIELDS.slice(0, nth).every((one) => isSame(one)(row)));
  const likeness = (row) => FIELDS.slice(nth + 1).filter((one) => isSame(one)(row)).length;
  const distance = (row) => Math.abs(rows.step[row] - rows.step[textRow]);
  const isBetter = (row, best) => likeness(row) > likeness(best) || (likeness(row) === likeness(best) && distance(row) < distance(best));
  return fits.reduce((best, row) => (isBetter(row, best) ? row : best), fits[0]);
}

for (const [field, select] of Object.entries(textSelects)) {
  select.addEventListener("change", () => goToRow(rowWith(field, select.value)));
}
textSteps.addEventListener("input", () => goToRow(sampleRows[Number(textSteps.value)]));
earlier.addEventListener("click", () => goToRow(sampleRows[Number(textSteps.value) - 1]));
later.addEventListener("click", () => goToRow(sampleRows[Number(textSteps.value) + 1]));

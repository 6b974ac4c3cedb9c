// The details of the token under the pointer, or else of the one that has the focus.

const inspector = document.getElementById("inspector");
const hasAttempts = valuesOf("attempt", everyRow).length > 1;
const part = (name) => inspector.querySelector(`[data-part="${name}"]`);

function say(name, text) {
  part(name).textContent = text;
}

function bar(name, logprob) {
  part(name).style.width = `${logprob === null ? 0 : 100 * Math.exp(Math.min(logprob, 0))}%`;
}

function where(row) {
  const id = rows.sample_id[row];
  const names = [...(runs.length > 1 ? [runs[rows.run[row]]] : []), `step ${rows.step[row]}`, streams[rows.stream[row]]];
  if (rows.codebook[row] !== null) names.push(`codebook ${rows.codebook[row]}`);
  names.push(`sample ${rows.place[row]}${id === null ? "" : ` (${id})`}`, `rank ${rows.rank[row]}`);
  if (hasAttempts) names.push(`attempt ${rows.attempt[row]}`);
  return names.join(" · ");
}

function about(row) {
  const { right, of, which } = rightOf(row);
  const supervised = `${rows.supervised[row]} of ${rows.length[row]} supervised`;
  const parts = of ? [`${share(right, of)} correct (${right} of ${of} ${which})`, supervised] : [supervised];
  if (rows.loss[row] !== null) parts.unshift(`loss ${nats(rows.loss[row])}`);
  parts.push(`shift ${rows.shift[row]}`);
  if (rows.nonfinite[row]) parts.push(`${rows.nonfinite[row]} probabilities not finite`);
  return parts.join(" · ");
}

// The whole sample, one line per token, as the console shows it.
function line(row, token, here) {
  const made = element("tr", [token === here && "here", token === starts[row] + rows.first[row] && "second"].filter(Boolean).join(" "));
  const at = (name) => tokens[name][token];
  made.append(
    element("td", "", cellOf(at("label"))),
    element("td", "", isRight(token) ? "✓" : (cellOf(at("prediction")) ?? "nan")),
    element("td", "", probability(at("label_logprob"))),
    element("td", "", at("label_rank") ?? "-"),
  );
  return made;
}

// The text around the tokens: what the model read is dim, and a bar marks where that ends and the labels begin.
function passages(row) {
  const made = [];
  for (const [leftOut, read, asked] of windows[rows.window[row]] ?? []) {
    if (leftOut) made.push(element("span", "left-out", ` … ${leftOut} ${leftOut === 1 ? "token" : "tokens"} … `));
    if (read) made.push(element("bdi", "read", read));
    if (read && asked) made.push(element("span", "prompt-end", "▏"));
    if (asked) made.push(element("bdi", "asked", asked));
  }
  return made;
}

// The whole sample as running text, if its record has kept all tokens; it is drawn when the row changes.
const wholeStarts = [0];
whole.count.forEach((count, row) => wholeStarts.push(wholeStarts[row] + count));
let drawnWhole = null;

function word(token) {
  const at = (name) => whole[name][token];
  const logprob = at("label_logprob");
  const isCorrect = at("label") === at("prediction");
  const made = element("bdi", logprob === null ? "unknown" : `p${levelOf(logprob, state.shade === "logarithm")}`, textOf(at("label")));
  if (!isCorrect) made.classList.add("is-wrong");
  const verdict = isCorrect ? "predicted correctly" : `predicted ${textOf(at("prediction")) ?? "nan"}`;
  made.title = `position ${at("position")}, p ${probability(logprob)}, rank ${at("label_rank") ?? "unknown"}, ${verdict}`;
  return made;
}

function drawWhole(row) {
  const key = `${row} ${state.shade}`;
  if (drawnWhole === key) return;
  drawnWhole = key;
  part("whole").hidden = !whole.kept[row];
  if (!whole.kept[row]) return;
  const all = Array.from({ length: whole.count[row] }, (_, place) => word(wholeStarts[row] + place));
  say("whole-size", all.length ? `${all.length} of ${rows.supervised[row]} supervised tokens` : `${whole.kept[row]} tokens, which are in the file only: there are too many for this page`);
  part("running").replaceChildren(...all);
}

function inspect(row, column) {
  const token = row === undefined ? -1 : tokenAt(row, column);
  inspector.classList.toggle("is-empty", row === undefined);
  inspector.classList.toggle("has-token", token >= 0);
  if (row === undefined) return;
  say("where", where(row));
  say("about", about(row));
  say("context", rows.context[row]);
  part("window").replaceChildren(...passages(row));
  part("window").hidden = rows.window[row] < 0;
  const all = Array.from({ length: rows.count[row] }, (_, place) => line(row, starts[row] + place, token));
  part("sample").replaceChildren(...all);
  drawWhole(row);
  if (token < 0) return;
  const at = (name) => tokens[name][token];
  inspector.classList.toggle("is-right", isRight(token));
  say("label", textOf(at("label")));
  say("label-id", `id ${ids[at("label")]}`);
  say("label-probability", probability(at("label_logprob")));
  bar("label-bar", at("label_logprob"));
  say("prediction", textOf(at("prediction")) ?? "nan");
  say("prediction-id", at("prediction") < 0 ? "no id" : `id ${ids[at("prediction")]}`);
  say("prediction-probability", probability(at("prediction_logprob")));
  bar("prediction-bar", at("prediction_logprob"));
  say("verdict", isRight(token) ? "✓ correct" : "wrong");
  say("rank", at("label_rank") === null ? "unknown" : `${at("label_rank")} of ${rows.vocabulary[row]}`);
  say("position", `${at("position")} of ${rows.length[row]}`);
  say("input", at("input") < 0 ? "unknown" : `${textOf(at("input"))} (id ${ids[at("input")]})`);
}

const inspectActive = () => inspect(shown[active.place], active.column);

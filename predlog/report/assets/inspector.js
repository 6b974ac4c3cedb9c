// The details of a token: beside the strip, of the one under the pointer or with the focus; and beside the text.

const inspector = document.getElementById("inspector");
const partOf = (panel, name) => panel.querySelector(`[data-part="${name}"]`);

function say(panel, name, text) {
  partOf(panel, name).textContent = text;
}

function bar(panel, name, logprob) {
  partOf(panel, name).style.width = `${logprob === null ? 0 : 100 * Math.exp(Math.min(logprob, 0))}%`;
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
  const supervised = `${rows.supervised[row]} of ${rows.known[row]} supervised`;
  const parts = of ? [`${share(right, of)} correct (${right} of ${of} ${which})`, supervised] : [supervised];
  if (rows.loss[row] !== null) parts.unshift(`loss ${nats(rows.loss[row])}`);
  if (rows.lacking[row]) parts.unshift(rows.lacking[row]);
  parts.push(`shift ${rows.shift[row]}`);
  if (rows.nonfinite[row]) parts.push(`${rows.nonfinite[row]} probabilities not finite`);
  return parts.join(" · ");
}

// The tokens of the sample that are shown, one line per token, as the console shows them.
function line(row, token, here) {
  const made = element("tr", [token === here && "here", token === starts[row] + rows.first[row] && "second"].filter(Boolean).join(" "));
  const at = (name) => tokens[name][token];
  made.append(
    element("td", "", cellOf(at("label"))),
    element("td", "", isRight(token) ? "✓" : isKnown(token) ? (cellOf(at("prediction")) ?? "nan") : "?"),
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

// What is known of one token of a row; a value that was not recorded is undefined.
function detail(panel, row, token) {
  panel.classList.toggle("has-token", token !== undefined);
  if (token === undefined) return;
  const { label, prediction, match, label_logprob, prediction_logprob, label_rank, position, input } = token;
  panel.classList.toggle("is-right", match === true);
  panel.classList.toggle("is-unknown", match === null);
  say(panel, "label", textOf(label));
  say(panel, "label-id", `id ${ids[label]}`);
  say(panel, "label-probability", probability(label_logprob));
  bar(panel, "label-bar", label_logprob);
  say(panel, "prediction", match === null ? "?" : (textOf(prediction) ?? "nan"));
  say(panel, "prediction-id", prediction < 0 ? "no id" : `id ${ids[prediction]}`);
  say(panel, "prediction-probability", prediction_logprob === undefined ? "not recorded" : probability(prediction_logprob));
  bar(panel, "prediction-bar", prediction_logprob ?? null);
  say(panel, "verdict", match === null ? "not known" : match ? "✓ correct" : "✗ wrong");
  const size = rows.vocabulary[row];
  say(panel, "rank", label_rank === null ? "unknown" : size === null ? `${label_rank}` : `${label_rank} of ${size}`);
  say(panel, "position", `${position} of ${rows.length[row]}`);
  say(panel, "input", input === undefined || input < 0 ? "unknown" : `${textOf(input)} (id ${ids[input]})`);
}

function inspect(row, column) {
  const token = row === undefined ? -1 : tokenAt(row, column);
  inspector.classList.toggle("is-empty", row === undefined);
  if (row === undefined) return;
  say(inspector, "where", where(row));
  say(inspector, "about", about(row));
  say(inspector, "context", rows.context[row]);
  partOf(inspector, "window").replaceChildren(...passages(row));
  partOf(inspector, "window").hidden = rows.window[row] < 0;
  const all = Array.from({ length: rows.count[row] }, (_, place) => line(row, starts[row] + place, token));
  partOf(inspector, "sample").replaceChildren(...all);
  detail(inspector, row, token < 0 ? undefined : tokenOf(row, token));
}

const inspectActive = () => inspect(shown[active.place], active.column);

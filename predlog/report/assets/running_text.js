// One sample as running text, that of the active row: each token in the shade of its probability, wrong ones underlined.

const running = document.getElementById("running");
const textDetails = document.getElementById("text-details");
const textNote = document.getElementById("text-note");
let textRow;
let drawnText = "";
let words = [];
let held = 0;
let labelsDrawn = { text: -1 };

// What is known of each token of a row, by its position: the tokens of the strip, the worst, or all.
function knownTokens(row) {
  const known = new Map();
  for (let place = starts[row]; place < starts[row + 1]; place++) known.set(tokens.position[place], tokenOf(row, place));
  for (let place = wholeStarts[row]; place < wholeStarts[row + 1]; place++) {
    const [position, label, prediction] = ["position", "label", "prediction"].map((name) => whole[name][place]);
    if (known.has(position)) continue;
    const match = ids[label] === ids[prediction] && prediction >= 0;
    known.set(position, { position, label, prediction, match, label_logprob: whole.label_logprob[place], label_rank: whole.label_rank[place] });
  }
  return known;
}

// The labels of a text by position, in its order: of all rows that show it, because each knows other ones.
function labelsOf(text) {
  if (labelsDrawn.text === text) return labelsDrawn.labels;
  const found = new Map();
  const add = (position, label) => {
    if (texts[found.get(position)] == null) found.set(position, label);
  };
  for (const row of everyRow) {
    if (whole.text[row] !== text) continue;
    for (let place = starts[row]; place < starts[row + 1]; place++) add(tokens.position[place], tokens.label[place]);
    for (let place = wholeStarts[row]; place < wholeStarts[row + 1]; place++) add(whole.position[place], whole.label[place]);
  }
  for (const position of whole.dropped[text] ?? []) found.delete(position);
  const labels = [...found].sort(([one], [other]) => Number(one) - Number(other));
  labelsDrawn = { text, labels };
  return labels;
}

// A text within others: a space is a space, unless it is all there is, and a line breaks after its end.
function flowing(text) {
  const spaced = /^(␣|\\n|\\t)+$/.test(text) ? text : text.replaceAll(/␣(?!×)/g, " ");
  return brokenIntoLines(spaced);
}
const brokenIntoLines = (text) => text.replaceAll(/\\\\|\\n(×\d+)?/g, (found) => (found.startsWith("\\n") ? `${found}\n` : found));

const BYTES = /^⟨([0-9A-F]{2}(?: [0-9A-F]{2})*)⟩$/;
const DRAWABLE = /^(?=[\p{L}\p{N}\p{P}\p{S}])[^\p{RI}\p{EMod}]$/u;

// Characters that several tokens share are drawn at the first of them, and a dot at each further one.
function joinedCharacters(labels) {
  const made = new Map();
  for (let begin = 0; begin < labels.length; begin++) {
    let bytes = [];
    for (let end = begin; end < Math.min(begin + 4, labels.length); end++) {
      const found = BYTES.exec(textOf(labels[end][1]) ?? "");
      if (!found || (end > begin && Number(labels[end][0]) !== Number(labels[end - 1][0]) + 1)) break;
      bytes = [...bytes, ...found[1].split(" ").map((byte) => parseInt(byte, 16))];
      const character = new TextDecoder().decode(new Uint8Array(bytes));
      if (!DRAWABLE.test(character) || character === "\ufffd") continue;
      made.set(begin, character);
      for (let place = begin + 1; place <= end; place++) made.set(place, "·");
      begin = end;
      break;
    }
  }
  return made;
}

// Word pieces continue a word where they begin with ##, and no token of such a vocabulary begins with a space.
function areWordPieces(labels) {
  const known = labels.map(([, label]) => texts[label]).filter((text) => text != null);
  return known.some((text) => /^##[\p{L}\p{N}]/u.test(text)) && !known.some((text) => text.startsWith("␣"));
}

function word(label, drawnAs, token) {
  const isId = texts[label] === null;
  if (token === undefined) return element(isId ? "bdi" : "span", isId ? "asked id" : "asked", drawnAs);
  const made = element("span", token.label_logprob === null ? "word unknown" : `word p${levelOf(token.label_logprob, state.shade === "logarithm")}`, drawnAs);
  if (isId) made.classList.add("id");
  if (token.match === false) made.classList.add("is-wrong");
  made.setAttribute("role", "button");
  made.setAttribute("aria-description", described(token));
  made.dataset.nth = words.length;
  made.tabIndex = -1;
  words.push({ ...token, node: made });
  return made;
}

function gap(kind, count) {
  const what = kind === "unlabelled" ? (count === 1 ? "token without a label" : "tokens without labels") : count === 1 ? "token left out" : "tokens left out";
  const made = element("bdi", "gap", count ? `⋯ ${count}` : "⋯");
  made.title = count ? `${count} ${what}` : what;
  made.append(element("span", "sr", count ? ` ${what} ` : ` ${what}: how many is not known `));
  return made;
}

function passage(row, kind, nth, from, to) {
  const [, read, asked] = windows[rows.window[row]][nth];
  const part = [...((kind === "read" ? read : asked) ?? "")].slice(from, to).join("");
  return element("span", kind, brokenIntoLines(part));
}

function piecesOf(row) {
  const labels = labelsOf(whole.text[row]);
  const known = knownTokens(row);
  const joined = joinedCharacters(labels);
  const isOfPieces = areWordPieces(labels);
  let at = 0;
  const made = [];
  for (const item of whole.texts[whole.text[row]]) {
    if (typeof item !== "number") {
      made.push(item.length > 2 ? passage(row, ...item) : gap(...item));
      continue;
    }
    for (const end = Math.min(at + item, labels.length); at < end; at++) {
      const [position, label] = labels[at];
      const text = textOf(label);
      const isAfterWord = made.length && !made.at(-1).classList.contains("gap");
      if (isOfPieces && isAfterWord && !/^(##|\p{P})/u.test(text)) made.push(element("span", "", " "));
      const drawnAs = joined.get(at) ?? flowing(isOfPieces ? text.replace(/^##/, "") : text);
      made.push(word(label, drawnAs, known.get(position)));
    }
  }
  return made;
}

const hasTexts = (row) => labelsOf(whole.text[row]).some(([, label]) => texts[label] !== null);

// What a reader must know about this text.
function notesOn(row, others) {
  const notes = [];
  const isIndexed = rows.sample_id[row] === null || samples[rows.sample[row]] === String(rows.place[row]);
  const different = new Set(others.map((other) => whole.text[other])).size;
  if (rows.codebook[row] !== null) notes.push(`Codebook ${rows.codebook[row]} has no text: these are the ids of its tokens.`);
  else if (!hasTexts(row)) notes.push("No text was recorded: these are the ids of the tokens. Texts come with decode=.");
  if (isIndexed && different > 1) {
    notes.push(`Sample ${rows.place[row]} is a place in the batch, not one text: ${different} different ones at ${others.length} steps. With sample_ids= and follow=, one text is followed.`);
  }
  const count = words.length;
  if (whole.kept[row] && !whole.count[row]) notes.push(`Its ${whole.kept[row]} tokens are in the file only: they are too many for this page.`);
  if (rows.lacking[row]) notes.push(`This comparison is ${rows.lacking[row]}.`);
  if (count < rows.supervised[row] && !rows.lacking[row]) notes.push(`${count} of ${rows.supervised[row]} supervised tokens have a probability here${whole.kept[row] ? "" : "; all_tokens=True records all"}.`);
  return notes;
}

function holdWord(nth) {
  if (words[held]) words[held].node.tabIndex = -1;
  held = Math.min(Math.max(nth, 0), Math.max(words.length - 1, 0));
  if (words[held]) words[held].node.tabIndex = 0;
  detail(textDetails, textRow, words[held]);
}

// Draw the text of the active row, unless it is there; the token that was held is held again.
function drawText() {
  const row = shown[active.place];
  const key = `${row} ${state.shade}`;
  if (row === undefined || drawnText === key) return;
  const hadFocus = running.contains(document.activeElement);
  const position = words[held]?.position;
  drawnText = key;
  textRow = row;
  words = [];
  running.replaceChildren(...piecesOf(row));
  running.classList.toggle("of-ids", !hasTexts(row));
  const others = stepsOfSample(row);
  sayText(row, others);
  textNote.replaceChildren(...notesOn(row, others).map((note) => element("span", "", `${note} `)));
  holdWord(Math.max(words.findIndex((one) => one.position === position), 0));
  if (hadFocus) words[held]?.node.focus({ preventScroll: true });
}

const nthOf = (target) => {
  const found = target.closest?.(".word");
  return found ? Number(found.dataset.nth) : undefined;
};
running.addEventListener("pointerover", (event) => {
  const nth = nthOf(event.target);
  if (event.pointerType !== "touch" && nth !== undefined) detail(textDetails, textRow, words[nth]);
});
running.addEventListener("pointerleave", () => holdWord(held));
running.addEventListener("focusin", (event) => holdWord(nthOf(event.target) ?? held));
// A token that the strip shows, too, is selected there.
running.addEventListener("click", (event) => {
  const nth = nthOf(event.target);
  if (nth === undefined) return;
  words[nth].node.focus({ preventScroll: true });
  holdWord(nth);
  if (words[nth].column !== undefined) goToRow(textRow, words[nth].column);
});

// The token of the next line that is nearest, up or down.
function inNextLine(direction) {
  const from = words[held].node.getBoundingClientRect();
  const middle = (from.left + from.right) / 2;
  let best = held;
  let line = null;
  for (let nth = held + direction; words[nth]; nth += direction) {
    const box = words[nth].node.getBoundingClientRect();
    if (direction * (box.top - from.top) < from.height / 2) continue;
    line ??= box.top;
    if (Math.abs(box.top - line) > from.height / 2) break;
    const away = (one) => Math.abs((one.left + one.right) / 2 - middle);
    if (best === held || away(box) < away(words[best].node.getBoundingClientRect())) best = nth;
  }
  return best;
}

running.addEventListener("keydown", (event) => {
  if (event.altKey || event.metaKey || event.ctrlKey || !words.length) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    event.target.click();
    return;
  }
  const isLeftward = getComputedStyle(words[held].node).direction === "rtl" ? -1 : 1;
  const to = {
    ArrowLeft: () => held - isLeftward,
    ArrowRight: () => held + isLeftward,
    ArrowUp: () => inNextLine(-1),
    ArrowDown: () => inNextLine(1),
    Home: () => 0,
    End: () => words.length - 1,
  }[event.key];
  if (!to) return;
  event.preventDefault();
  holdWord(to());
  words[held].node.focus();
});

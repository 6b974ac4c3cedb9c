// The film strip: a grid in which only the visible rows exist, with one active cell that the keys move.

const grid = document.getElementById("grid");
const head = document.getElementById("grid-head");
const body = document.getElementById("grid-body");
const nothing = document.getElementById("nothing-shown");
const here = document.getElementById("strip-here");
const HEIGHT = { flat: 26, below: 40 };
const OVERSCAN = 8;
let shown = [];
let open = [];
let active = { place: 0, column: 0 };
let height = HEIGHT.flat;
const drawn = new Map();

function headings() {
  const headingCells = [element("div", "step", "step")];
  for (let column = 0; column < columnCount; column++) {
    const which = column < first ? `${column + 1}` : `−${columnCount - column}`;
    const heading = element("div", column === first ? "behind" : "", which);
    heading.setAttribute("aria-label", column < first ? `first ${column + 1}` : `last ${columnCount - column}`);
    headingCells.push(heading);
  }
  if (hasLoss) headingCells.push(element("div", "loss", "loss"));
  headingCells.push(element("div", "right-share", "correct"));
  headingCells.forEach((heading, place) => {
    heading.setAttribute("role", "columnheader");
    heading.setAttribute("aria-colindex", place + 1);
  });
  head.replaceChildren(...headingCells);
  const columns = (count) => (count ? `repeat(${count}, var(--cell))` : "");
  // The gap is there for the last tokens: without these the loss would be put into it.
  grid.style.setProperty("--tokens", `${columns(first)} ${last ? `15px ${columns(last)}` : ""}`);
  grid.style.setProperty("--behind", first + 3);
  grid.style.setProperty("--least", `calc(var(--step) + ${columnCount} * var(--narrowest) + 15px + var(--loss) + var(--share))`);
  grid.classList.toggle("has-loss", hasLoss);
  grid.setAttribute("aria-colcount", columnCount + 2 + hasLoss);
}

const brief = (name) => (name.length > 16 ? `${name.slice(0, 15)}…` : name);

// The name of a row: its step, and the fields in which it may differ from its neighbours. Only a stream's name may be cut.
function rowName(row) {
  const short = { codebook: "cb", sample: "s", rank: "r", attempt: "#" };
  const parts = open.filter((field) => short[field] && rows[field][row] !== null).map((field) => short[field] + brief(nameOf(field, rows[field][row])));
  const stream = ["run", "stream"].filter((field) => open.includes(field)).map((field) => nameOf(field, rows[field][row])).join(" ");
  return { step: String(rows.step[row]), stream, rest: parts.join(" ") };
}

// The column of names has room for the longest name shown, so that its width does not change while scrolling.
function makeRoomForNames() {
  const most = { step: 1, stream: 0, rest: 0 };
  for (const row of shown) {
    for (const [part, name] of Object.entries(rowName(row))) most[part] = Math.max(most[part], name.length);
  }
  grid.style.setProperty("--digits", most.step);
  grid.style.setProperty("--stream", most.stream);
  grid.style.setProperty("--rest", most.rest);
}

function rowHead(row) {
  const made = element("div", "step");
  const { step, stream, rest } = rowName(row);
  const names = element("span", "names");
  if (open.includes("run")) names.append(element("span", `run-mark run${rows.run[row] % 8}`));
  if (stream) names.append(element("span", "of", stream));
  if (rest) names.append(element("span", "rest", rest));
  made.setAttribute("role", "rowheader");
  made.setAttribute("aria-colindex", 1);
  made.append(element("span", "number", step));
  if (stream || rest) made.append(names);
  if (stream || rest) made.title = ["step", step, stream, rest].filter(Boolean).join(" ");
  return made;
}

// Over the strip, whatever is scrolled: the stream and the step of the first row in sight, and the step of the last.
function sayWhereItIs() {
  const top = Math.floor(grid.scrollTop / height + 0.5);
  const bottom = Math.floor((grid.scrollTop + grid.clientHeight - head.offsetHeight) / height - 0.5);
  const row = shown[Math.min(top, shown.length - 1)];
  const end = shown[Math.min(Math.max(bottom, top), shown.length - 1)];
  if (row === undefined) {
    here.replaceChildren();
    return;
  }
  const names = FIELDS.filter((field) => ["codebook", "sample"].includes(field) && rows[field][row] !== null && !open.includes(field));
  const steps = rows.step[row] === rows.step[end] ? `step ${rows.step[row]}` : `step ${rows.step[row]} to ${rows.step[end]}`;
  here.replaceChildren(element("bdi", "of", streams[rows.stream[row]]), element("span", "steps", steps));
  for (const field of names) here.append(element("span", "rest", `${field} ${nameOf(field, rows[field][row])}`));
}

function cell(place, column) {
  const token = tokenAt(shown[place], column);
  const made = element("div", column === first ? "cell behind" : "cell");
  made.setAttribute("role", "gridcell");
  made.setAttribute("aria-colindex", column + 2);
  made.tabIndex = place === active.place && column === active.column ? 0 : -1;
  made.dataset.column = column;
  if (token < 0) {
    made.classList.add("none");
    made.setAttribute("aria-label", "no token");
    return made;
  }
  const logprob = tokens.label_logprob[token];
  made.classList.add(logprob === null ? "unknown" : `p${levelOf(logprob, state.shade === "logarithm")}`);
  if (isKnown(token)) made.classList.add(isRight(token) ? "is-right" : "is-wrong");
  made.append(element("bdi", "label", cellOf(tokens.label[token])));
  if (state.below && !isRight(token)) {
    made.append(element("div", isKnown(token) ? "said" : "said not-known"));
    made.lastChild.append(element("span", "sr", "predicted "), element("bdi", "", isKnown(token) ? (cellOf(tokens.prediction[token]) ?? "nan") : "?"));
  }
  made.setAttribute("aria-description", described(tokenOf(shown[place], token)));
  return made;
}

function figureCell(className, text, column) {
  const made = element("div", className, text);
  made.setAttribute("role", "gridcell");
  made.setAttribute("aria-colindex", column);
  return made;
}

function figureCells(row) {
  const { right, of } = rightOf(row);
  const losses = hasLoss ? [figureCell("loss", nats(rows.loss[row]), columnCount + 2)] : [];
  return [...losses, figureCell("right-share", share(right, of), columnCount + 2 + hasLoss)];
}

function drawRow(place) {
  const row = shown[place];
  const startsStep = place === 0 || rows.step[shown[place - 1]] !== rows.step[row];
  const made = element("div", startsStep ? "row starts-step" : "row");
  made.setAttribute("role", "row");
  made.setAttribute("aria-rowindex", place + 2);
  made.dataset.place = place;
  made.style.top = `${place * height}px`;
  made.append(rowHead(row));
  for (let column = 0; column < columnCount; column++) made.append(cell(place, column));
  made.append(...figureCells(row));
  if (!rows.count[row]) {
    const why = rows.supervised[row] ? "no tokens were shown" : `nothing supervised: every label of ${rows.known[row]} is ignored`;
    made.append(element("div", "why", why));
  }
  return made;
}

function inSight() {
  const from = Math.floor(grid.scrollTop / height) - OVERSCAN;
  const to = Math.ceil((grid.scrollTop + grid.clientHeight) / height) + OVERSCAN;
  return [Math.max(from, 0), Math.min(to, shown.length)];
}

// The row of the active cell is always kept, so that scrolling never loses the focus.
function draw() {
  const [from, to] = inSight();
  const isWanted = (place) => (place >= from && place < to) || place === active.place;
  for (const [place, row] of drawn) {
    if (!isWanted(place)) {
      row.remove();
      drawn.delete(place);
    }
  }
  const wanted = new Set(shown.length ? [active.place] : []);
  for (let place = from; place < to; place++) wanted.add(place);
  for (const place of [...wanted].sort((a, b) => b - a)) {
    if (drawn.has(place)) continue;
    drawn.set(place, drawRow(place));
    body.insertBefore(drawn.get(place), drawn.get(place + 1) ?? null);
  }
  sayWhereItIs();
}

const cellAt = (place, column) => drawn.get(place)?.querySelector(`[data-column="${column}"]`);

function activate(place, column) {
  const before = cellAt(active.place, active.column);
  if (before) before.tabIndex = -1;
  active = { place, column };
  draw();
  const now = cellAt(place, column);
  if (now) now.tabIndex = 0;
  return now;
}

function centre(place) {
  grid.scrollTop = (place + 0.5) * height - (grid.clientHeight - head.offsetHeight) / 2;
}

function bringIntoSight(place) {
  const room = grid.clientHeight - head.offsetHeight;
  const top = place * height;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + height > grid.scrollTop + room) grid.scrollTop = top + height - room;
}

function selectCell(place, column) {
  if (!shown.length) return undefined;
  const at = Math.min(Math.max(place, 0), shown.length - 1);
  bringIntoSight(at);
  return activate(at, Math.min(Math.max(column, 0), columnCount - 1));
}

function focusCell(place, column) {
  const target = selectCell(place, column);
  if (!target) return;
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function clear() {
  for (const row of drawn.values()) row.remove();
  drawn.clear();
}

// Make the list of rows anew, after a change of the selection, of the shading or of the data.
function list(row) {
  clear();
  shown = shownRows();
  open = openFields();
  headings();
  makeRoomForNames();
  height = state.below ? HEIGHT.below : HEIGHT.flat;
  grid.classList.toggle("with-predictions", state.below);
  grid.classList.toggle("with-names", open.length > 0);
  grid.setAttribute("aria-rowcount", shown.length + 1);
  body.style.height = `${shown.length * height}px`;
  grid.style.setProperty("--whole", `${shown.length * height}px`);
  body.style.setProperty("--row", `${height}px`);
  nothing.hidden = shown.length > 0;
  const place = shown.indexOf(row);
  const nearby = place < 0 && row !== undefined ? nearest(rows.step[row]) : place;
  active = { place: Math.max(nearby, 0), column: Math.min(active.column, Math.max(columnCount - 1, 0)) };
}

// Draw everything again around the active row.
function show(row = shown[active.place]) {
  list(row);
  centre(active.place);
  draw();
}

// The row of a step, or else of the step nearest to it; -1 if there are no rows.
function nearest(step, nth = 0) {
  let best = -1;
  shown.forEach((row, place) => {
    if (best < 0 || Math.abs(rows.step[row] - step) < Math.abs(rows.step[shown[best]] - step)) best = place;
  });
  const isSame = shown[best + nth] !== undefined && rows.step[shown[best + nth]] === rows.step[shown[best]];
  return isSame ? best + nth : best;
}

function placeInAddress() {
  const row = shown[active.place];
  if (row === undefined) return {};
  const nth = active.place - nearest(rows.step[row]);
  return { step: rows.step[row], ...(nth > 0 ? { nth } : {}), token: active.column };
}

function moved(key, whole) {
  const { place, column } = active;
  const page = Math.max(Math.floor((grid.clientHeight - head.offsetHeight) / height) - 1, 1);
  const to = {
    ArrowUp: [place - 1, column],
    ArrowDown: [place + 1, column],
    ArrowLeft: [place, column - 1],
    ArrowRight: [place, column + 1],
    PageUp: [place - page, column],
    PageDown: [place + page, column],
    Home: [whole ? 0 : place, 0],
    End: [whole ? shown.length - 1 : place, columnCount - 1],
  };
  return to[key];
}

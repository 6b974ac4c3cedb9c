// New rows of the film strip, added to those that are there. Rows name streams, windows and texts by their places in lists.

// A value after a change, as predlog/serve/patch.py describes it.
function patched(old, patch) {
  if ("set" in patch) return patch.set;
  if ("keep" in patch) return old.slice(0, patch.keep).concat(patch.add);
  const made = Array.isArray(old) ? [...old] : { ...old };
  for (const [key, one] of Object.entries(patch.of)) made[key] = patched(old[key], one);
  return made;
}

const mapColumns = (columns, change) => Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, change(column, name)]));

function keptOf(column, ranges) {
  if (ranges.length === 1 && ranges[0][0] === 0 && ranges[0][1] === column.length) return column;
  const parts = ranges.map(([from, to]) => column.slice(from, to));
  return typeof column === "string" ? parts.join("") : parts.flat();
}

// Ranges of rows as ranges of what each row has several of.
function rangesOf(counts, ranges) {
  const ends = [0];
  counts.forEach((count, row) => ends.push(ends[row] + count));
  return ranges.map(([from, to]) => [ends[from], ends[to]]);
}

// Of `whole`: columns with one entry per row, and what is known of the samples that rows are of. The others are of tokens.
const OF_ROWS = new Set(["kept", "count", "text"]);
const OF_SAMPLES = new Set(["texts", "dropped"]);

function keptRows(strip, ranges) {
  const ofTokens = rangesOf(strip.rows.count, ranges);
  const ofWhole = rangesOf(strip.whole.count, ranges);
  return {
    ...strip,
    rows: mapColumns(strip.rows, (column) => keptOf(column, ranges)),
    tokens: mapColumns(strip.tokens, (column) => keptOf(column, ofTokens)),
    whole: mapColumns(strip.whole, (column, name) => (OF_SAMPLES.has(name) ? column : keptOf(column, OF_ROWS.has(name) ? ranges : ofWhole))),
  };
}

// Where the entries of one list are in another, to which those are added that it lacks.
function placesIn(list, more, name = JSON.stringify) {
  const places = new Map(list.map((entry, place) => [name(entry), place]));
  return more.map((entry) => {
    const key = name(entry);
    if (!places.has(key)) places.set(key, list.push(entry) - 1);
    return places.get(key);
  });
}

// Texts, ids, and what is cut of the texts have the same places.
function tokenPlaces(made, more) {
  const pairs = made.texts.map((text, place) => [text, made.ids[place]]);
  const known = pairs.length;
  const places = placesIn(pairs, more.texts.map((text, place) => [text, more.ids[place]]));
  for (const [text, id] of pairs.slice(known)) {
    made.texts.push(text);
    made.ids.push(id);
  }
  places.forEach((place, own) => {
    if (own in more.cells) made.cells[place] = more.cells[own];
  });
  return places;
}

const OF_TEXTS = new Set(["label", "prediction", "input"]);

function joined(old, more) {
  const made = { ...old };
  for (const name of ["streams", "windows", "texts", "ids"]) made[name] = [...old[name]];
  made.cells = { ...old.cells };
  const texts = tokenPlaces(made, more);
  const placesOf = { stream: placesIn(made.streams, more.streams), window: placesIn(made.windows, more.windows) };
  const placed = (column, places) => (places ? column.map((place) => (place < 0 ? place : places[place])) : column);
  const added = (column, other) => (typeof column === "string" ? column + other : column.concat(other));
  const ofTokens = (part) => (column, name) => added(column, placed(part[name], OF_TEXTS.has(name) ? texts : null));
  made.rows = mapColumns(old.rows, (column, name) => added(column, placed(more.rows[name], placesOf[name])));
  made.tokens = mapColumns(old.tokens, ofTokens(more.tokens));
  made.whole = { ...mapColumns(old.whole, (column, name) => (OF_SAMPLES.has(name) ? column : ofTokens(more.whole)(column, name))), ...joinedSamples(old.whole, more.whole) };
  made.first = Math.max(old.first, more.first);
  made.last = Math.max(old.last, more.last);
  return made;
}

// New rows are of new samples, until it is known which of them are the same: `retold` has that of all rows.
function joinedSamples(old, more) {
  const known = old.texts.length;
  const dropped = Object.entries(more.dropped).map(([number, positions]) => [Number(number) + known, positions]);
  return {
    text: old.text.concat(more.text.map((number) => number + known)),
    texts: old.texts.concat(more.texts),
    dropped: { ...old.dropped, ...Object.fromEntries(dropped) },
  };
}

const retold = (strip, samples) => ({ ...strip, whole: { ...strip.whole, ...samples } });

// The strip after a change, as predlog/serve/news.py describes it: which rows stay, which come, and what each is a sample of.
function changedStrip(old, { keep, add, samples, sample }) {
  const which = patched(old.rows.sample, sample);
  const made = joined(keptRows(old, keep), add);
  return { ...made, samples, rows: { ...made.rows, sample: which } };
}

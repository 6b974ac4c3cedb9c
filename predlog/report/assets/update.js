// Newer data of the same run: strip and text are drawn again in place, and what was chosen stays chosen.

let hasChosen = false;

const identity = (row) => (row === undefined ? null : JSON.stringify([...["attempt", "rank", "codebook", "place", "sample_id", "step"].map((name) => rows[name][row]), streams[rows.stream[row]]]));
const rowOf = (name) => (name === null ? undefined : everyRow.find((row) => identity(row) === name));

// Without a comparison there is neither a strip nor a text.
function reveal() {
  const isEmpty = everyRow.length === 0;
  for (const one of document.querySelectorAll("#strip [data-needs-script], #text-view, #to-text")) one.hidden = isEmpty;
  document.getElementById("no-comparison").hidden = !isEmpty;
}

// Draw strip and text anew from `columns`, which is what the page has in `strip-data`. Selection, filters, focus and what
// is in sight stay; who has chosen no row, and looks at the newest one, sees the new one.
function updateStrip(columns) {
  const wasEmpty = everyRow.length === 0;
  const names = chosenNames();
  const chosen = identity(shown[active.place]);
  const firstInSight = Math.floor(grid.scrollTop / height);
  const top = { row: identity(shown[firstInSight]), offset: grid.scrollTop - firstInSight * height, left: grid.scrollLeft };
  const isFollowing = !hasChosen && grid.scrollTop < height / 2;
  const hadFocus = grid.contains(document.activeElement);
  load(columns);
  reveal();
  labelsDrawn = { text: -1 };
  drawnText = "";
  if (wasEmpty) startAnew();
  else chooseByNames(names);
  fillAll();
  list(isFollowing ? undefined : rowOf(chosen));
  const place = isFollowing ? -1 : shown.indexOf(rowOf(top.row));
  grid.scrollTop = place < 0 ? 0 : place * height + top.offset;
  grid.scrollLeft = top.left;
  draw();
  if (hadFocus) cellAt(active.place, active.column)?.focus({ preventScroll: true });
  paintOverview();
  followActive();
}

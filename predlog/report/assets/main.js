// Connects the parts: after each choice, key, click or address, the right rows and details are drawn.

const stepField = document.getElementById("go-to-step");
const followActive = () => {
  inspectActive();
  drawText();
};
const ALL_PARTS = [fillAll, drawScale, paintOverview, followActive];

function refresh(row) {
  show(row);
  for (const part of ALL_PARTS) part();
  rememberInAddress(placeInAddress);
}

function go(place, column = active.column) {
  hasChosen = true;
  focusCell(place, column);
  followActive();
  rememberInAddress(placeInAddress);
}

// Make a row the active one, whether it is among those shown or not; the focus stays where it is.
function goToRow(row, column = active.column) {
  if (row === undefined) return;
  hasChosen = true;
  if (!shown.includes(row)) {
    for (const field of FIELDS) if (state[field] !== ALL) state[field] = String(rows[field][row]);
    fillAll();
    show(row);
    paintOverview();
  }
  selectCell(shown.indexOf(row), column);
  followActive();
  rememberInAddress(placeInAddress);
}

function openAddress() {
  const { step, nth, token } = takeFrom(location.hash.slice(1));
  list();
  hasChosen = step !== null;
  active = { place: step === null ? 0 : Math.max(nearest(Number(step), nth), 0), column: Math.min(Math.max(token, 0), columnCount - 1) || 0 };
  clear();
  centre(active.place);
  draw();
  for (const part of ALL_PARTS) part();
}

for (const [field, select] of Object.entries(selects)) {
  select.addEventListener("change", () => {
    state[field] = select.value;
    fillAll();
    refresh();
  });
}
shadeSelect.addEventListener("change", () => {
  state.shade = shadeSelect.value;
  refresh();
});
belowBox.addEventListener("change", () => {
  state.below = belowBox.checked;
  refresh();
});
document.getElementById("show-all").addEventListener("click", () => {
  for (const field of FIELDS) state[field] = ALL;
  refresh();
});
document.getElementById("to-first").addEventListener("click", () => go(shown.length - 1));
document.getElementById("to-newest").addEventListener("click", () => {
  go(0);
  hasChosen = false;
});
stepField.addEventListener("change", () => {
  if (stepField.value !== "") go(nearest(Number(stepField.value)));
});

grid.addEventListener("keydown", (event) => {
  if (event.altKey || event.metaKey || !event.target.closest(".cell")) return;
  const to = moved(event.key, event.ctrlKey);
  if (!to) return;
  event.preventDefault();
  go(...to);
});
grid.addEventListener("scroll", () => {
  requestAnimationFrame(() => {
    draw();
    markSight();
  });
});

const placeOf = (target) => {
  const found = target.closest?.(".cell");
  return found && [Number(found.parentElement.dataset.place), Number(found.dataset.column)];
};
// A pointer that rests while keys or a link move the strip under it does not count as pointing.
let resting = null;
const pointsAt = ({ clientX, clientY }) => `${clientX} ${clientY}`;
let pointed = null;
body.addEventListener("pointerover", (event) => {
  pointed = pointsAt(event);
  if (event.pointerType === "touch" || pointed === resting) return;
  const at = placeOf(event.target);
  if (at) inspect(shown[at[0]], at[1]);
});
for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, (event) => (pointed = pointsAt(event)), true);
grid.addEventListener("keydown", () => (resting = pointed), true);
grid.addEventListener("wheel", () => (resting = null), { passive: true });
body.addEventListener("pointerleave", inspectActive);
body.addEventListener("focusin", (event) => {
  const at = placeOf(event.target);
  if (!at) return;
  hasChosen = true;
  activate(...at);
  followActive();
  rememberInAddress(placeInAddress);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, select, textarea")) return;
  event.preventDefault();
  stepField.focus();
  stepField.select();
});
// Scroll to the cell that the address names, with the heading if the window has room for it, else with the whole film.
// The cell is always in sight and gets the focus, so that the keys continue from there.
function followAddress() {
  resting = pointed;
  openAddress();
  if (!location.hash.includes("=")) return;
  document.getElementById("strip").scrollIntoView();
  document.querySelector(".film").scrollIntoView({ block: "nearest" });
  go(active.place);
}
window.addEventListener("hashchange", () => location.hash.includes("=") && followAddress());
new ResizeObserver(() => {
  draw();
  paintOverview();
}).observe(grid);
repainted.push(() => {
  readPalette();
  paintOverview();
});

reveal();
readPalette();
followAddress();
repaint();

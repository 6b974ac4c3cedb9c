// Connects the parts: after each choice, key, click or address, the right rows and details are drawn.

const stepField = document.getElementById("go-to-step");
const ALL_PARTS = [fillAll, drawScale, paintOverview, inspectActive];

function refresh(row) {
  show(row);
  for (const part of ALL_PARTS) part();
  rememberInAddress(placeInAddress);
}

function go(place, column = active.column) {
  focusCell(place, column);
  inspectActive();
  rememberInAddress(placeInAddress);
}

function openAddress() {
  const { step, nth, token } = takeFrom(location.hash.slice(1));
  show();
  active = { place: step === null ? 0 : Math.max(nearest(Number(step), nth), 0), column: Math.min(Math.max(token, 0), COLUMNS - 1) || 0 };
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
document.getElementById("to-first").addEventListener("click", () => go(0));
document.getElementById("to-newest").addEventListener("click", () => go(shown.length - 1));
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
// A pointer that rests while keys move the strip under it does not count as pointing.
let resting = null;
const pointsAt = ({ clientX, clientY }) => `${clientX} ${clientY}`;
let pointed = null;
body.addEventListener("pointerover", (event) => {
  pointed = pointsAt(event);
  if (event.pointerType === "touch" || pointed === resting) return;
  const at = placeOf(event.target);
  if (at) inspect(shown[at[0]], at[1]);
});
grid.addEventListener("pointermove", (event) => (pointed = pointsAt(event)));
grid.addEventListener("keydown", () => (resting = pointed), true);
grid.addEventListener("wheel", () => (resting = null), { passive: true });
body.addEventListener("pointerleave", inspectActive);
body.addEventListener("focusin", (event) => {
  const at = placeOf(event.target);
  if (!at) return;
  activate(...at);
  inspectActive();
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
  openAddress();
  if (!location.hash.includes("=")) return;
  document.getElementById("strip").scrollIntoView();
  grid.parentElement.scrollIntoView({ block: "nearest" });
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

for (const hidden of document.querySelectorAll("#strip [data-needs-script]")) hidden.hidden = false;
readPalette();
followAddress();
repaint();

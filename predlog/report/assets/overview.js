// All shown rows at once, scaled to the height available, next to the strip: to see the whole run, and to move in it.

const overview = document.getElementById("overview");
const frame = overview.querySelector(".frame");
const canvas = overview.querySelector("canvas");
const sight = overview.querySelector(".sight");
const TALLEST = 6;
let palette = [];

function readPalette() {
  const probe = element("span");
  probe.hidden = true;
  document.body.append(probe);
  const colourOf = (className) => {
    probe.className = className;
    return getComputedStyle(probe).backgroundColor.match(/[\d.]+/g).slice(0, 3).map(Number);
  };
  palette = Array.from({ length: LEVELS }, (_, level) => colourOf(`p${level}`));
  palette.none = colourOf("no-token");
  probe.remove();
}

// The mean shade of a column over the rows that fall on one line of pixels.
function meanLevel(from, to, column, byLogarithm) {
  let sum = 0;
  let count = 0;
  for (let place = from; place < to; place++) {
    const token = tokenAt(shown[place], column);
    const logprob = token < 0 ? null : tokens.label_logprob[token];
    if (logprob === null) continue;
    sum += levelOf(logprob, byLogarithm);
    count++;
  }
  return count ? Math.round(sum / count) : -1;
}

function paintOverview() {
  const ratio = window.devicePixelRatio || 1;
  const room = frame.clientHeight;
  const tall = Math.max(Math.min(room, shown.length * TALLEST), 1);
  canvas.style.height = `${tall}px`;
  const lines = (canvas.height = Math.max(Math.round(tall * ratio), 1));
  const width = (canvas.width = Math.max(Math.round(canvas.clientWidth * ratio), 1));
  const context = canvas.getContext("2d");
  const step = width / Math.max(columnCount, 1);
  const byLogarithm = state.shade === "logarithm";
  for (let line = 0, thick = 1; line < lines && shown.length; line += thick) {
    const from = Math.floor((line * shown.length) / lines);
    const to = Math.max(Math.floor(((line + 1) * shown.length) / lines), from + 1);
    thick = Math.max(Math.ceil(((from + 1) * lines) / shown.length) - line, 1);
    for (let column = 0; column < columnCount; column++) {
      const level = meanLevel(from, to, column, byLogarithm);
      context.fillStyle = `rgb(${(palette[level] ?? palette.none).join(" ")})`;
      context.fillRect(Math.floor(column * step) + (column >= first && first ? ratio : 0), line, Math.ceil(step), thick);
    }
  }
  markSight();
}

function markSight() {
  const whole = shown.length * height;
  const tall = canvas.clientHeight;
  const room = grid.clientHeight - head.offsetHeight;
  sight.hidden = whole <= room;
  sight.style.top = `${(grid.scrollTop / whole) * tall}px`;
  sight.style.height = `${Math.max((room / whole) * tall, 4)}px`;
}

function moveTo(event) {
  const { top } = canvas.getBoundingClientRect();
  const share = (event.clientY - top) / canvas.clientHeight;
  grid.scrollTop = share * shown.length * height - (grid.clientHeight - head.offsetHeight) / 2;
}

overview.addEventListener("pointerdown", (event) => {
  overview.setPointerCapture(event.pointerId);
  moveTo(event);
});
overview.addEventListener("pointermove", (event) => {
  if (overview.hasPointerCapture(event.pointerId)) moveTo(event);
});

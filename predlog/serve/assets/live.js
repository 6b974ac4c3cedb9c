// Keeps a page that is served up to date: listens while somebody can see it, and fetches what the server draws.

const liveMark = document.getElementById("live");
// Milliseconds until the next try, and the least between two times that what the server draws is fetched.
const RETRY = { first: 1000, most: 10000, again: 600, gone: 5000 };
const CONTENT = 500;

// A name by which the server knows that tabs share the few connections of one browser.
function browserName() {
  try {
    const known = localStorage.getItem("predlog-browser") ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
    localStorage.setItem("predlog-browser", known);
    return known;
  } catch {
    return "";
  }
}

function showMark(kind, text, title = "") {
  liveMark.dataset.kind = kind;
  liveMark.textContent = text;
  liveMark.title = title;
}

const clock = (timestamp) => new Date(timestamp).toLocaleTimeString([], { hour12: false });

function showStatus({ ended, running, at }) {
  if (ended) showMark("ended", "ended", at ? `last record: ${new Date(at).toLocaleString()}` : "");
  else if (!running) showMark("stopped", at ? `stopped · ${clock(at)}` : "stopped", "no process of this host writes to it, and for a minute nothing came: killed? The time of the last record");
  else showMark("live", at ? `live · ${clock(at)}` : "live", "updated while the run goes on; the time of the last record");
}

// `take` draws a change, `reload` gets everything anew and returns how far that is, `status` shows how the run is.
function listen({ take, reload, status = showStatus }) {
  const browser = browserName();
  let since = document.body.dataset.cursor;
  let stream = null;
  let timer = 0;
  let delay = RETRY.first;
  let work = Promise.resolve();
  const close = () => {
    clearTimeout(timer);
    stream?.close();
    stream = null;
  };
  const later = (wait) => {
    close();
    timer = setTimeout(open, wait);
  };
  const lose = () => {
    showMark("away", "no connection", "trying again: is predlog serve still running, and with the same token?");
    later(delay);
    delay = Math.min(2 * delay, RETRY.most);
  };
  async function startAnew() {
    close();
    try {
      since = await reload();
      later(0);
    } catch (error) {
      if (!(error instanceof Unreachable)) console.error(error);
      lose();
    }
  }
  // One after the other: a change belongs to what the one before has made.
  const inTurn = (task) => {
    work = work.then(task).catch((error) => {
      console.error(error);
      return startAnew();
    });
  };
  function open() {
    close();
    if (document.hidden) return;
    const own = new EventSource(`events?since=${encodeURIComponent(since)}&browser=${encodeURIComponent(browser)}`);
    const on = (name, task) => own.addEventListener(name, (event) => own === stream && task(event));
    stream = own;
    on("open", () => (delay = RETRY.first));
    on("status", (event) => status(JSON.parse(event.data)));
    on("change", (event) => inTurn(async () => {
      if (own !== stream) return;
      await take(JSON.parse(event.data));
      since = event.lastEventId;
    }));
    on("stale", () => inTurn(startAnew));
    on("again", () => inTurn(() => own === stream && later(RETRY.again)));
    on("gone", (event) => {
      showMark("away", "not there", JSON.parse(event.data).why);
      later(RETRY.gone);
    });
    on("error", lose);
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && open());
  open();
}

class Unreachable extends Error {}

async function fetchJson(address) {
  const answer = await fetch(address).catch(() => {
    throw new Unreachable(address);
  });
  if (!answer.ok) throw new Unreachable(answer.statusText);
  return answer.json();
}

// --- what the server draws ----------------------------------------------------------------------------------------

// A document of its own, in which nothing runs: here no text is made markup.
function fetchDocument(address) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", address);
    request.responseType = "document";
    request.onload = () => (request.status === 200 && request.response ? resolve(request.response) : reject(new Unreachable(request.statusText)));
    request.onerror = () => reject(new Unreachable(address));
    request.send();
  });
}

// What the reader has opened stays open, and what a script hides hidden.
const KEPT = new Set(["open", "hidden"]);
const keyOf = (node) => node.dataset?.key || node.id || "";

function becomeAttributes(old, made) {
  for (const { name } of [...old.attributes]) if (!KEPT.has(name) && !made.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of made.attributes) if (!KEPT.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
}

// Change only what differs, so that what is selected, focused and scrolled stays so.
function become(old, made) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== made.data) old.data = made.data;
    return;
  }
  becomeAttributes(old, made);
  const keyed = new Map([...old.children].map((node) => [keyOf(node), node]));
  let at = old.firstChild;
  for (const node of made.childNodes) {
    const known = keyOf(node) ? keyed.get(keyOf(node)) : at;
    if (known && known.nodeName === node.nodeName && keyOf(known) === keyOf(node)) {
      if (known !== at) old.insertBefore(known, at);
      become(known, node);
      at = known.nextSibling;
    } else {
      old.insertBefore(document.importNode(node, true), at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

async function fetchContent(address) {
  const made = await fetchDocument(address);
  for (const part of made.querySelectorAll("[data-live]")) {
    const old = document.getElementById(part.id);
    if (old) become(old, part);
  }
  document.title = made.title;
  return made.body.dataset.cursor;
}

// Do it now, or if it was done a short time ago, a little later: however often it is called meanwhile, once.
function seldom(task) {
  let isWaiting = false;
  let earliest = 0;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    setTimeout(async () => {
      const start = performance.now();
      earliest = start + CONTENT;
      isWaiting = false;
      await task().catch((error) => error instanceof Unreachable || console.error(error));
      earliest = Math.max(earliest, start + 4 * (performance.now() - start));
    }, Math.max(earliest - performance.now(), 0));
  };
}

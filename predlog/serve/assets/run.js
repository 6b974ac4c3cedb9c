// The page of a run that goes on: strip, text and curves are drawn again in place, with what is new.

const startingData = (id) => JSON.parse(document.getElementById(id).textContent);
const current = { strip: startingData("strip-data"), curves: startingData("curves-data") };
const freshContent = seldom(() => fetchContent("content"));

function takeChange({ strip, whole: ofSamples, curves: ofCurves }) {
  if (strip) current.strip = changedStrip(current.strip, strip);
  if (ofSamples) current.strip = retold(current.strip, ofSamples);
  if (strip || ofSamples) updateStrip(current.strip);
  if (ofCurves) updateCurves((current.curves = patched(current.curves, ofCurves)));
  freshContent();
}

async function takeState() {
  const state = await fetchJson("state");
  Object.assign(current, { strip: state.strip, curves: state.curves });
  updateStrip(current.strip);
  updateCurves(current.curves);
  freshContent();
  return state.cursor;
}

// Once the curves are drawn, which begins when the whole page is there.
const curvesPart = document.getElementById("curves");
new MutationObserver((_, observer) => {
  if (curvesPart.dataset.drawn === undefined) return;
  observer.disconnect();
  listen({ take: takeChange, reload: takeState });
}).observe(curvesPart, { attributes: true });

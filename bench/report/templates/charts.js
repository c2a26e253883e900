// Charts: drawn when they come near the screen, and before the page is printed. Colours are names of the
// style sheet's, so that a chart follows the theme by itself. vegaEmbed is the script before this one's.
const look = JSON.parse(document.getElementById("chart-look").textContent);
const tip = document.getElementById("tip");

// --- what a mark says

const GAP = 8;
let leaving = 0;

function hideTip() {
  tip.hidden = true;
}

function showTip(_, event, mark, words) {
  clearTimeout(leaving);
  if (!words) {
    // The pointer may be on its way to the words, to read or to mark them.
    leaving = setTimeout(() => tip.matches(":hover") || hideTip(), 200);
    return;
  }
  tip.textContent = words;
  tip.hidden = false;
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const left = Math.min(Math.max(event.clientX - width / 2, GAP), innerWidth - width - GAP);
  const above = event.clientY - height - GAP;
  tip.style.left = `${left}px`;
  tip.style.top = `${above < GAP ? event.clientY + 2 * GAP : above}px`;
}

tip.addEventListener("pointerleave", hideTip);
addEventListener("scroll", hideTip, { passive: true });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
});

// --- drawing

const waiting = new Set(document.querySelectorAll(".chart"));

// Colour and shape of every method, by the names of the style sheet.
function inLooks(part, names, lookOf) {
  if (Array.isArray(part)) return part.map((item) => inLooks(item, names, lookOf));
  if (part === null || typeof part !== "object") return part;
  const changed = {};
  for (const [key, value] of Object.entries(part)) {
    const isOfMethod = (key === "color" || key === "shape") && value?.field === "method";
    if (key === "data") changed[key] = value;
    else if (!isOfMethod) changed[key] = inLooks(value, names, lookOf);
    else {
      const range = names.map((name) => lookOf.get(name)[key === "shape" ? "shape" : "colour"]);
      changed[key] = { ...value, scale: { ...value.scale, domain: names, range } };
    }
  }
  return changed;
}

// An axis that was fitted to what is drawn is fitted again.
function fitted(part, records) {
  const ends = records.flatMap(({ low, mean, high }) => [low, mean, high]).filter(Number.isFinite);
  return JSON.parse(JSON.stringify(part), (key, value) =>
    key === "scale" && value.zero === false && value.domain && ends.length
      ? { ...value, domain: [Math.min(...ends), Math.max(...ends)] }
      : value,
  );
}

// The chart of the methods and label sets that are shown.
function shownOf(place) {
  const spec = JSON.parse(place.nextElementSibling.textContent);
  const others = place.parentElement.querySelector("script.others");
  const { methods, labelSets, lookOf } = globalThis.shownInCharts();
  const records = [...spec.data.values, ...(others ? JSON.parse(others.textContent) : [])];
  const values = records.filter((own) => methods.has(own.method) && (!own.set || labelSets.has(own.set)));
  const isWhole = values.length === spec.data.values.length && values.every((own, at) => own === records[at]);
  if (isWhole) return { spec, values };
  const names = [...new Set(values.map((own) => own.method))];
  const { data, ...rest } = spec;
  return { spec: { ...fitted(inLooks(rest, names, lookOf), values), data: { ...data, values } }, values };
}

async function draw(place) {
  if (!waiting.delete(place)) return;
  near.unobserve(place);
  const { spec, values } = shownOf(place);
  if (!values.length) {
    const none = document.createElement("p");
    none.className = "note";
    none.textContent = "No method that is drawn has values here.";
    place.replaceChildren(none);
    place.dataset.drawn = "";
    return;
  }
  if (spec.autosize && place.clientWidth) {
    // A chart of one panel is as wide as its column, with text of the usual size.
    spec.height = Math.round((spec.height * place.clientWidth) / spec.width);
    spec.width = place.clientWidth;
  }
  const drawing = document.createElement("div");
  if (place.dataset.drawn === undefined) place.replaceChildren();
  drawing.hidden = false;
  place.append(drawing);
  await vegaEmbed(drawing, spec, {
    mode: "vega-lite",
    renderer: "svg",
    // Expressions are interpreted: the page's policy forbids to compile them.
    ast: true,
    actions: false,
    defaultStyle: false,
    config: look,
    tooltip: showTip,
  });
  place.replaceChildren(drawing);
  // Its place has the text alternative.
  drawing.setAttribute("aria-hidden", "true");
  // One of several panels has its own width; larger, its text would be too.
  if (!spec.autosize) drawing.style.maxWidth = `${drawing.querySelector("svg").getAttribute("width")}px`;
  place.style.aspectRatio = "";
  place.dataset.drawn = "";
}

const near = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  },
  { rootMargin: "50% 0px" },
);
for (const place of waiting) {
  place.style.aspectRatio = `${place.dataset.width} / ${place.dataset.height}`;
  near.observe(place);
}
const whatIsShown = () => {
  const { methods, labelSets } = globalThis.shownInCharts();
  return JSON.stringify([[...methods].sort(), [...labelSets]]);
};
let drawnAs = whatIsShown();
addEventListener("shown", () => {
  const now = whatIsShown();
  if (now === drawnAs) return;
  drawnAs = now;
  // What was drawn stays until it comes near the screen again, which is at once for what is on it.
  for (const place of document.querySelectorAll(".chart[data-drawn]")) {
    waiting.add(place);
    near.observe(place);
  }
});

addEventListener("beforeprint", () => {
  for (const place of waiting) draw(place);
});

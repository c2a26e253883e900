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

async function draw(place) {
  if (!waiting.delete(place)) return;
  near.unobserve(place);
  const spec = JSON.parse(place.nextElementSibling.textContent);
  if (spec.autosize && place.clientWidth) {
    // A chart of one panel is as wide as its column, with text of the usual size.
    spec.height = Math.round((spec.height * place.clientWidth) / spec.width);
    spec.width = place.clientWidth;
  }
  const drawing = document.createElement("div");
  place.replaceChildren(drawing);
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
addEventListener("beforeprint", () => {
  for (const place of waiting) draw(place);
});

// What the filters leave: rows, columns, charts and keys, and the aggregates of just that. The hash lists what is
// shown (#datasets=a,b&labels=0.1); without an entry everything is.
const MOST_DRAWN = 8;
const looks = JSON.parse(document.getElementById("looks").textContent);
const lookOf = new Map(looks.methods.map(([name, place, shape]) => [name, { colour: `var(--c${place})`, shape }]));
// What the keys hold before anything is chosen: the best, and on the page of a method that one beside the baseline.
const drawnAtFirst = new Set(all(".key li[data-method]").map((item) => item.dataset.method));

const isListed = (name, value) => !view.has(name) || listOf(name).includes(value);
const words = () => (view.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
const isMethodShown = (name) =>
  isListed("methods", name) && words().every((word) => name.toLowerCase().includes(word));
const isPart = () => view.has("datasets") || view.has("labels");
const everyMethod = () => [...lookOf.keys()];
const isPlaceShown = (place) => place.startsWith("block-") || isListed("labels", place);

// --- the order of the rows: by the mean score of what is shown, unless a column was chosen

function headlineOrder(evaluation) {
  const chosen = chosenPlaces(evaluation, (dataset) => isListed("datasets", dataset), isPlaceShown);
  const scores = new Map(everyMethod().map((name) => [name, meanScore(chosen, name)?.value ?? -Infinity]));
  return (a, b) => scores.get(b) - scores.get(a);
}

function orderRows(table) {
  const sorted = table.sorted;
  if (sorted) return sortRows(table, sorted.index, sorted.direction);
  const { evaluation } = table.element.dataset;
  const isHeadline = table.element.id === "standings" || table.element.closest("[data-section]");
  const compareMethods = isHeadline && isPart() && headlineOrder(evaluation ?? "finetune");
  if (!compareMethods && !table.isMoved) return;
  table.isMoved = Boolean(compareMethods);
  for (const [body, rows] of table.start) {
    const moved = compareMethods
      ? [...rows].sort((a, b) => compareMethods(a.dataset.method, b.dataset.method))
      : rows;
    body.append(...moved);
  }
}

// --- charts and their keys

function drawnMethods() {
  let order = filters ? everyMethod() : everyMethod().filter((name) => drawnAtFirst.has(name));
  if (parts.baseline && isPart()) order = [...order].sort(headlineOrder("finetune"));
  const shown = order.filter(isMethodShown);
  const first = looks.drawn_first.filter((name) => shown.includes(name));
  const drawn = new Set([...new Set([...first, ...shown])].slice(0, MOST_DRAWN));
  for (const name of listOf("with")) if (lookOf.has(name) && isMethodShown(name)) drawn.add(name);
  for (const name of listOf("without")) drawn.delete(name);
  return drawn;
}

globalThis.shownInCharts = () => ({
  methods: drawnMethods(),
  labelSets: new Set(looks.label_sets.filter((id) => isListed("labels", id))),
  lookOf,
});

function toggleSeries(name) {
  const isDrawn = drawnMethods().has(name);
  for (const list of ["with", "without"]) listed(list, name, false);
  // What is drawn by itself needs no entry.
  if (drawnMethods().has(name) === isDrawn) listed(isDrawn ? "without" : "with", name, true);
  show();
}

function listed(name, item, wanted) {
  const rest = listOf(name).filter((own) => own !== item);
  remember(name, (wanted ? [...rest, item] : rest).join(","));
}

function seriesButton(name) {
  const button = make("button", "", { type: "button", "data-series": name });
  const swatch = document.querySelector(`[data-method="${CSS.escape(name)}"] .swatch`);
  if (swatch) button.append(swatch.cloneNode(true));
  button.append(make("span", name));
  button.addEventListener("click", () => toggleSeries(name));
  return button;
}

function wireKey(key) {
  const items = new Map(all("li[data-method]", key).map((item) => [item.dataset.method, item]));
  for (const [name, item] of items) item.replaceChildren(seriesButton(name));
  const rest = document.querySelector("script.others") ? everyMethod().filter((name) => !items.has(name)) : [];
  if (!rest.length) return;
  const more = key.appendChild(make("li"));
  const menu = more.appendChild(make("details", "", { class: "menu" }));
  menu.append(make("summary", rest.length === 1 ? "1 other" : `${rest.length} others`));
  const list = menu.appendChild(make("div"));
  // Built when it is opened: a page has many keys.
  menu.addEventListener("toggle", () => {
    if (!menu.open || list.hasChildNodes()) return;
    list.append(...rest.map(seriesButton));
    showKeys();
  });
  key.rest = more;
}

function showKeys() {
  const drawn = drawnMethods();
  for (const button of all("[data-series]")) {
    const name = button.dataset.series;
    button.setAttribute("aria-pressed", String(drawn.has(name)));
    (button.closest("li[data-method]") ?? button).hidden = !isMethodShown(name);
  }
  for (const key of all(".key")) {
    if (!key.rest) continue;
    // A method that was ticked in the menu stands in the key like the others.
    const named = new Set(all("li[data-method]", key).map((item) => item.dataset.method));
    for (const name of drawn) {
      if (named.has(name)) continue;
      const item = make("li", "", { "data-method": name });
      item.append(seriesButton(name));
      item.firstChild.setAttribute("aria-pressed", "true");
      key.insertBefore(item, key.rest);
    }
  }
}

function showFigures() {
  for (const figure of all("figure[data-dataset]")) {
    const { dataset, labels } = figure.dataset;
    figure.hidden = !isListed("datasets", dataset) || Boolean(labels && !isListed("labels", labels));
  }
  for (const group of all(".charts")) {
    const isEmpty = all("figure", group).every((figure) => figure.hidden);
    group.none ??= group.appendChild(make("p", "No chart is about what is chosen.", { class: "note" }));
    group.none.hidden = !isEmpty;
  }
  dispatchEvent(new Event("shown"));
}

// --- columns, rows and sections

const isChosenHidden = (table, index) => listOf("hide").includes(`${table.element.id}.${index}`);
const isHidden = (table, index) => {
  const { dataset, labels, metric } = table.heads[index].dataset;
  const wanted = view.get("metric");
  const isOther = metric && wanted && wanted !== "primary" && metric !== wanted;
  return Boolean(
    isChosenHidden(table, index) ||
      isOther ||
      (dataset && !isListed("datasets", dataset)) ||
      (labels && !isListed("labels", labels)),
  );
};

function showColumns() {
  const rules = [];
  for (const table of tables) {
    const id = CSS.escape(table.element.id);
    const hidden = table.heads.map((_, index) => isHidden(table, index));
    hidden.forEach((isOut, index) => {
      table.heads[index].hidden = isOut;
      if (isOut) rules.push(`#${id} tbody tr:not(.group) > :nth-child(${index + 2}) { display: none; }`);
    });
    let at = 0;
    for (const group of table.groups) {
      const span = Number(group.dataset.span);
      const left = hidden.slice(at, at + span).filter((isOut) => !isOut).length;
      group.hidden = left === 0;
      group.colSpan = Math.max(left, 1);
      at += span;
    }
  }
  sheet.replaceSync(rules.join("\n"));
}

function showRows() {
  for (const row of all("tr[data-method]")) row.hidden = !isMethodShown(row.dataset.method);
}

function showSections() {
  const [evaluation, metric] = [view.get("evaluation"), view.get("metric")];
  for (const section of all("[data-section]")) {
    section.hidden = Boolean(evaluation && section.dataset.section !== evaluation);
  }
  for (const block of all(".table-block[data-metric]")) {
    const own = block.dataset.metric;
    // A metric that is the primary one of a data set stands in the tables of the primary metrics.
    const isWithin = own === "primary" && metric && block.querySelector(`th[data-metric="${CSS.escape(metric)}"]`);
    block.hidden = Boolean(metric && own !== metric && !isWithin);
    if (metric && !block.hidden) block.closest("details")?.setAttribute("open", "");
  }
}

function sayWhatIsShown() {
  const status = filters?.querySelector("output");
  if (!status) return;
  const names = everyMethod();
  const count = names.filter(isMethodShown).length;
  const isEmpty = (name) => !all(`input[name="${name}"]`, filters).some((box) => isListed(name, box.value));
  const visible = all(".table-block[data-metric]").some((block) => !block.hidden && !block.closest("[data-section]")?.hidden);
  if (!count) status.textContent = words().length ? `No method matches “${view.get("q")}”.` : "No method is chosen.";
  else if (isEmpty("datasets")) status.textContent = "No data set is chosen.";
  else if (isEmpty("labels")) status.textContent = "No label set is chosen.";
  else if (!visible) status.textContent = "No table has this metric in this evaluation.";
  else status.textContent = `${count} of ${names.length} methods${isPart() ? "; the answer above is for the whole run" : ""}`;
}

function show() {
  showColumns();
  for (const table of tables) {
    showAggregates(table);
    orderRows(table);
  }
  showRows();
  showSections();
  showKeys();
  showFigures();
  sayWhatIsShown();
  for (const table of tables) showMore(table);
}

// --- tables that go on to the right

function showMore(table) {
  const scroll = table.element.closest(".scroll");
  if (!scroll || !table.more) return;
  if (scroll.closest("details:not([open]), [hidden]")) return;
  table.more.hidden = scroll.scrollWidth - scroll.clientWidth - scroll.scrollLeft < 8;
}

function addMore(table, tools) {
  const scroll = table.element.closest(".scroll");
  if (!scroll) return;
  table.more = make("button", "More →", { type: "button", "aria-label": `Scroll to more columns: ${titleOf(table)}` });
  table.more.hidden = true;
  table.more.addEventListener("click", () => scroll.scrollBy({ left: scroll.clientWidth * 0.7 }));
  scroll.addEventListener("scroll", () => showMore(table), { passive: true });
  new ResizeObserver(() => showMore(table)).observe(scroll);
  tools.prepend(table.more);
}

// --- what a word means, where it is pointed at; a press opens it without this script

function wireTerms() {
  let timer = 0;
  const place = (card, button) => {
    const [box, own] = [button.getBoundingClientRect(), card.getBoundingClientRect()];
    card.style.left = `${Math.max(8, Math.min(box.left, innerWidth - own.width - 8))}px`;
    card.style.top = `${box.bottom + own.height + 8 > innerHeight ? Math.max(8, box.top - own.height - 4) : box.bottom + 4}px`;
  };
  document.addEventListener("pointerover", (event) => {
    const button = event.target.closest?.("button.term");
    clearTimeout(timer);
    if (!button || event.pointerType === "touch") return;
    const card = document.getElementById(button.getAttribute("popovertarget"));
    timer = setTimeout(() => {
      if (card.matches(":popover-open")) return;
      card.showPopover();
      place(card, button);
      const leave = (left) => {
        if (card.contains(left.relatedTarget) || button.contains(left.relatedTarget)) return;
        card.hidePopover();
        for (const part of [card, button]) part.removeEventListener("pointerleave", leave);
      };
      for (const part of [card, button]) part.addEventListener("pointerleave", leave);
    }, 250);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button.term");
    const card = button && document.getElementById(button.getAttribute("popovertarget"));
    if (card?.matches(":popover-open")) place(card, button);
  });
}

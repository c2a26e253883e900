// Aggregates of what the filters leave, in the tables that are over data sets and label sets.
const PART = "Computed anew for what is chosen above; tests and marks are of the whole run, and left out here.";

const figureIn = (value, digits) => value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "−");

function rangeOf({ low, high }, digits) {
  const ends = [figureIn(low, digits), figureIn(high, digits)];
  return ends.join(ends.some((end) => end.includes("−")) ? " to " : "–");
}

function chosenFor(head, table) {
  const { labels, place } = head.dataset;
  const evaluation = head.dataset.evaluation ?? table.element.dataset.evaluation;
  const metric = table.metrics.size && view.get("metric") !== "primary" ? view.get("metric") : "";
  return chosenPlaces(
    evaluation,
    (dataset) => isListed("datasets", dataset) && (!metric || table.metrics.get(dataset) === metric),
    (own) => isPlaceShown(own) && (!(labels ?? place) || own === (labels ?? place)),
  );
}

function aggregatesOf(aggregate, chosen, methods) {
  if (aggregate === "mean_rank") return meanRanks(chosen, methods);
  const compute = { score: meanScore, iqm: interquartileMean, improvement }[aggregate];
  return new Map(methods.map((name) => [name, compute(chosen, name)]).filter(([, value]) => value));
}

function showAggregates(table) {
  const at = table.heads.map((head, index) => [head, index]).filter(([head]) => head.dataset.aggregate);
  if (!at.length) return;
  const metric = view.get("metric");
  const isChanged = isPart() || Boolean(table.metrics.size && metric && metric !== "primary");
  if (!isChanged && !table.isPart) return;
  table.isPart = isChanged;
  const rows = all("tbody tr[data-method]", table.element);
  for (const [head, index] of at) {
    const chosen = isChanged ? chosenFor(head, table) : [];
    sayHowMany(head, isChanged && sum(chosen.map(({ places }) => places.length)));
    const computed = isChanged && aggregatesOf(head.dataset.aggregate, chosen, rows.map((row) => row.dataset.method));
    for (const row of rows) {
      const cell = row.cells[index + 1];
      cell.start ??= { nodes: [...cell.childNodes], look: cell.className, title: cell.title };
      cell.replaceChildren(...(isChanged ? [] : cell.start.nodes));
      cell.className = isChanged ? "n" : cell.start.look;
      cell.title = isChanged ? "" : cell.start.title;
      if (isChanged) fill(cell, computed.get(row.dataset.method), head.dataset.aggregate);
    }
  }
  for (const place of [document.getElementById(`${table.element.id}-title`), ...table.groups]) {
    sayOverWhat(place, isChanged);
  }
  table.element.closest(".scroll").setAttribute("aria-label", titleOf(table));
  const block = table.element.closest(".table-block");
  table.partNote ??= block.appendChild(make("p", PART, { class: "note" }));
  table.partNote.hidden = !isChanged;
}

// What a head says of the whole run would be untrue of a part; it comes back with the whole.
function sayHowMany(head, columns) {
  const small = head.querySelector("small") ?? head.appendChild(make("small"));
  head.whole ??= small.textContent;
  small.textContent = columns === false ? head.whole : `${columns} column${columns === 1 ? "" : "s"}`;
}

function sayOverWhat(place, isChanged) {
  place.whole ??= textsIn(place).map((text) => [text, text.data]);
  const changed = (whole) => whole.replace("All data sets", "What is chosen").replace("all data sets", "what is chosen");
  for (const [text, whole] of place.whole) text.data = isChanged ? changed(whole) : whole;
}

function textsIn(place) {
  const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  return texts;
}

function fill(cell, computed, aggregate) {
  const digits = aggregate === "score" || aggregate === "iqm" ? 3 : 2;
  cell.append(computed ? figureIn(computed.value, digits) : "–");
  if (!computed) cell.classList.add("hole");
  else if (computed.low !== undefined) cell.append(make("small", rangeOf(computed, digits)));
}

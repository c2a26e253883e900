// Sort, search, filter, hide, download, theme and details; without this script every table is complete.
// Text from data is only ever set as text. The address's hash holds the view: #q=moco&datasets=...&theme=dark
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, text = "", attributes = {}) => {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const details = JSON.parse(document.getElementById("details").textContent);
const filters = document.getElementById("filters");
const sheet = new CSSStyleSheet();
document.adoptedStyleSheets = [sheet];

// --- the view, and the hash that holds it

const view = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
const listOf = (name) => (view.get(name) ?? "").split(",").filter(Boolean);

function remember(name, value) {
  if (value) view.set(name, value);
  else view.delete(name);
  const hash = view.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

function remembered(name, item, wanted) {
  const rest = listOf(name).filter((own) => own !== item);
  remember(name, (wanted ? [...rest, item] : rest).join(","));
}

// --- theme

const themeButton = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (view.get("theme") ?? (prefersDark.matches ? "dark" : "light")) === "dark";

function showTheme() {
  if (view.has("theme")) document.documentElement.dataset.theme = view.get("theme");
  else delete document.documentElement.dataset.theme;
  themeButton.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
}
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  remember("theme", isDark() ? "light" : "dark");
  showTheme();
});
prefersDark.addEventListener("change", showTheme);

// --- tables

const tables = all("table[id]").map((element) => {
  const heads = all("tr.columns > th", element);
  const corner = element.querySelector("thead th");
  if (heads[0] === corner) heads.shift();
  return { element, corner, heads, groups: all("thead th.over", element) };
});
const byId = new Map(tables.map((table) => [table.element.id, table]));
const plain = (cell) => cell.querySelector(":scope > span, :scope > a")?.textContent ?? "";
const titleOf = (table) => plain(table.element.caption);
const headOf = (table, index) => {
  const over = table.groups.find((group, place) => {
    const before = table.groups.slice(0, place).reduce((sum, other) => sum + Number(other.dataset.span), 0);
    return index >= before && index < before + Number(group.dataset.span);
  });
  return [over && plain(over), table.heads[index].querySelector("button, span").textContent]
    .filter(Boolean)
    .join(", ");
};

function numberIn(cell) {
  const text = cell.classList.contains("hole") ? "" : plain(cell);
  return Number.parseFloat(text.replaceAll(",", "").replace("−", "-").replace("<", ""));
}

function compare(a, b, index, direction) {
  const [one, other] = [a.cells[index], b.cells[index]];
  const [x, y] = [numberIn(one), numberIn(other)];
  if (index > 0 && !(Number.isNaN(x) && Number.isNaN(y))) {
    // A hole is neither high nor low: it comes last either way.
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return direction * (x - y);
  }
  return direction * plain(one).localeCompare(plain(other), "en", { numeric: true });
}

function sortRows(table, index, direction) {
  for (const head of [table.corner, ...table.heads]) head.removeAttribute("aria-sort");
  const head = index === 0 ? table.corner : table.heads[index - 1];
  if (!head) return;
  head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  for (const body of table.element.tBodies) {
    const rows = all("tr:not(.group)", body);
    rows.sort((a, b) => compare(a, b, index, direction));
    body.append(...rows);
  }
}

function makeSortable(table) {
  [table.corner, ...table.heads].forEach((head, index) => {
    const label = head.querySelector("span");
    const button = make("button", label.textContent, { type: "button" });
    label.replaceWith(button);
    button.addEventListener("click", () => {
      const first = index === 0 || "lowerIsBetter" in head.dataset ? 1 : -1;
      const turned = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      const direction = head.hasAttribute("aria-sort") ? turned : first;
      sortRows(table, index, direction);
      remember("sort", `${table.element.id}.${index}.${direction > 0 ? "up" : "down"}`);
    });
  });
}

function csvOf(table) {
  const quoted = (text) => {
    // A spreadsheet would take text that begins so for a formula.
    const safe = /^[=+@\t]|^-(?![\d.])/.test(text) ? `'${text}` : text;
    return `"${safe.replaceAll('"', '""')}"`;
  };
  const shown = table.heads.map((_, index) => index).filter((index) => !isHidden(table, index));
  const lines = [[plain(table.corner) || table.corner.textContent, ...shown.flatMap((i) => [headOf(table, i), "detail"])]];
  for (const row of all("tbody tr:not(.group):not([hidden])", table.element)) {
    const group = row.parentElement.querySelector("tr.group span")?.textContent;
    const cells = shown.map((index) => row.cells[index + 1]);
    lines.push([
      [group, plain(row.cells[0])].filter(Boolean).join(", "),
      ...cells.flatMap((cell) => [
        plain(cell).replace("−", "-"),
        all("b, small", cell).map((own) => own.textContent).join("; "),
      ]),
    ]);
  }
  return lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
}

function download(table) {
  const address = URL.createObjectURL(new Blob([csvOf(table)], { type: "text/csv" }));
  make("a", "", { href: address, download: `${table.element.id}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function addTools(table) {
  const tools = make("div", "", { class: "tools" });
  const csv = make("button", "CSV", { type: "button", "aria-label": `Download as CSV: ${titleOf(table)}` });
  csv.addEventListener("click", () => download(table));
  if (table.heads.length > 1) {
    const menu = make("details", "", { class: "menu" });
    menu.append(make("summary", "Columns", { "aria-label": `Columns: ${titleOf(table)}` }));
    const list = menu.appendChild(make("div"));
    menu.addEventListener("toggle", () => {
      if (!menu.open || list.hasChildNodes()) return;
      table.heads.forEach((_, index) => {
        const box = make("input", "", { type: "checkbox" });
        box.checked = !isChosenHidden(table, index);
        box.addEventListener("change", () => {
          remembered("hide", `${table.element.id}.${index}`, !box.checked);
          showColumns();
        });
        const label = list.appendChild(make("label"));
        label.append(box, headOf(table, index));
      });
    });
    tools.append(menu);
  }
  tools.append(csv);
  table.element.closest(".table-block").prepend(tools);
}

// --- what is shown

const isChosenHidden = (table, index) => listOf("hide").includes(`${table.element.id}.${index}`);
const isHidden = (table, index) => {
  const { dataset, fraction } = table.heads[index].dataset;
  return (
    isChosenHidden(table, index) ||
    (dataset && listOf("datasets").includes(dataset)) ||
    (fraction && listOf("labels").includes(fraction))
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
  const words = (view.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const out = listOf("methods");
  const isOut = (name) => out.includes(name) || !words.every((word) => name.toLowerCase().includes(word));
  const named = new Map();
  for (const row of all("tr[data-method]")) {
    const name = row.dataset.method;
    if (!named.has(name)) named.set(name, isOut(name));
    row.hidden = named.get(name);
  }
  const count = [...named.values()].filter((hidden) => !hidden).length;
  const status = filters?.querySelector("output");
  if (status) status.textContent = `${count} of ${named.size} methods`;
}

function showSections() {
  const [evaluation, metric] = [view.get("evaluation"), view.get("metric")];
  for (const section of all("[data-section]")) section.hidden = evaluation && section.dataset.section !== evaluation;
  for (const block of all(".table-block[data-metric]")) {
    block.hidden = metric && block.dataset.metric !== metric;
    if (metric && !block.hidden) block.closest("details")?.setAttribute("open", "");
  }
}

function show() {
  showColumns();
  showRows();
  showSections();
}

function wireFilters() {
  if (!filters) return;
  filters.hidden = false;
  filters.addEventListener("submit", (event) => event.preventDefault());
  for (const field of all("[name]", filters)) {
    const isBox = field.type === "checkbox";
    if (isBox) field.checked = !listOf(field.name).includes(field.value);
    else field.value = view.get(field.name) ?? "";
    field.addEventListener(isBox ? "change" : "input", () => {
      if (isBox) remembered(field.name, field.value, !field.checked);
      else remember(field.name, field.value);
      show();
    });
  }
  filters.querySelector("#reset-view").addEventListener("click", () => {
    for (const name of [...view.keys()]) if (name !== "theme") view.delete(name);
    remember("q", "");
    filters.reset();
    for (const box of all(".tools input")) box.checked = true;
    show();
  });
}

document.addEventListener("click", (event) => {
  for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  const link = event.target.closest?.('a[href^="#"]');
  const target = link && document.getElementById(link.hash.slice(1));
  if (!target || !view.size) return;
  // The hash holds the view, so a link within the page moves without it.
  event.preventDefault();
  if (target.matches("details")) target.open = true;
  target.scrollIntoView();
  if (target.hasAttribute("tabindex")) target.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of all("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// --- details of a cell

const dialog = document.getElementById("cell");

function makeWalkable(table) {
  if (!table.element.dataset.evaluation) return;
  const cells = all("tbody tr[data-method] > td", table.element).filter((cell) => table.heads[cell.cellIndex - 1].dataset.place);
  if (!cells.length) return;
  // One stop of the tab key for each table; arrows walk inside, as in any grid.
  table.element.setAttribute("role", "grid");
  for (const cell of cells) cell.tabIndex = -1;
  cells[0].tabIndex = 0;
}

function walk(cell, key) {
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (!(key in moves)) return false;
  const [down, right] = moves[key];
  const rows = all("tbody tr[data-method]:not([hidden])", cell.closest("table"));
  let row = rows.indexOf(cell.parentElement) + down;
  let column = cell.cellIndex + right;
  let next = rows[row]?.cells[column];
  while (next && !next.offsetParent) {
    row += down;
    column += right;
    next = rows[row]?.cells[column];
  }
  if (next?.hasAttribute("tabindex")) {
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
  return true;
}

function pairs(content) {
  const list = make("dl");
  for (const [name, value] of content) {
    const line = list.appendChild(make("div"));
    line.append(make("dt", name), make("dd", value));
  }
  return list;
}

function runTable(runs) {
  const table = make("table");
  const head = table.createTHead().insertRow();
  for (const name of ["Seed", "Status", "Started", "Seconds", "Commit", "Working tree", "Hardware"]) {
    head.append(make("th", name, { scope: "col" }));
  }
  const body = table.createTBody();
  for (const run of runs) {
    const origin = details.origins[run.origin] ?? {};
    const row = body.insertRow();
    row.append(make("th", run.seed, { scope: "row" }));
    const about = [run.status, run.started ?? "–", run.seconds ?? "–", origin.commit ?? "–", origin.clean ?? "–", origin.device ?? "–"];
    for (const text of about) row.append(make("td", text));
  }
  const scroll = make("div", "", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs of this cell" });
  scroll.append(table);
  return scroll;
}

function runsOf(stage, dataset, method, place) {
  const places = details.cells[stage]?.[dataset]?.[method] ?? {};
  // A probe has one cell for all blocks, which lies under no place.
  const found = places[place] ?? places[""] ?? [];
  return found.map(([seed, status, started, seconds, origin, key]) => ({ seed, status, started, seconds, origin, key }));
}

function dvcStage(stage, dataset, method) {
  return details.per_dataset.includes(stage) ? `${stage}@${dataset}` : `${stage}@${dataset}-${method}`;
}

function reproduce(stage, dataset, method, runs) {
  const lines = [];
  for (const run of runs.filter((own) => own.key)) {
    const commit = details.origins[run.origin]?.revision;
    if (commit && !lines.includes(`git checkout ${commit}`)) lines.push(`git checkout ${commit}`);
    lines.push(`rm -r .bench/cells/${stage}/${run.key}*   # the kept copy of seed ${run.seed}`);
  }
  lines.push(`dvc repro --force --single-item ${dvcStage(stage, dataset, method)}`);
  return make("pre", lines.join("\n"));
}

function openDetails(cell) {
  const table = byId.get(cell.closest("table").id);
  const { dataset, place } = table.heads[cell.cellIndex - 1].dataset;
  const method = cell.parentElement.dataset.method;
  const evaluation = table.element.dataset.evaluation;
  const runs = runsOf(evaluation, dataset, method, place);
  document.getElementById("cell-title").textContent = `${method} on ${dataset}, ${headOf(table, cell.cellIndex - 1)}`;
  const body = document.getElementById("cell-body");
  body.replaceChildren(make("p", `${titleOf(table)}: ${[plain(cell), ...all("b, small", cell).map((own) => own.textContent)].join("; ")}`));
  if (cell.title) body.append(make("p", cell.title, { class: "note" }));
  body.append(make("h3", `Runs behind it: DVC stage ${dvcStage(evaluation, dataset, method)}`), runTable(runs));
  const upstream = evaluation === "pretrain" ? [] : runsOf("pretrain", dataset, method, "");
  if (upstream.length) body.append(make("h3", `Encoders: DVC stage pretrain@${dataset}-${method}`), runTable(upstream));
  body.append(make("h3", "Compute exactly this again"), reproduce(evaluation, dataset, method, runs));
  body.append(make("p", "Without the kept copies the stage computes these cells anew and reuses all others.", { class: "note" }));
  body.append(make("h3", `Parameters of ${method}`), pairs(details.methods[method] ?? []));
  body.append(make("h3", `Data set ${dataset}`), pairs(details.datasets[dataset] ?? []));
  const packages = [...new Set([...runs, ...upstream].map((run) => run.origin))].filter((origin) => details.origins[origin]);
  body.append(make("h3", "Software"), pairs(packages.map((origin) => ["Packages", details.origins[origin].packages])));
  dialog.showModal();
  body.scrollTop = 0;
}

document.addEventListener("click", (event) => {
  const cell = event.target.closest?.("td[tabindex]");
  if (cell) openDetails(cell);
  if (event.target === dialog) dialog.close();
});
document.addEventListener("keydown", (event) => {
  const cell = event.target.closest?.("td[tabindex]");
  if (!cell) return;
  if (event.key === "Enter" || event.key === " ") openDetails(cell);
  else if (!walk(cell, event.key)) return;
  event.preventDefault();
});

// --- start

showTheme();
for (const table of tables) {
  for (const group of table.groups) group.dataset.span = group.colSpan;
  makeSortable(table);
  addTools(table);
  makeWalkable(table);
}
wireFilters();
const [sortedId, sortedColumn, sortedWay] = (view.get("sort") ?? "").split(".");
if (byId.has(sortedId)) sortRows(byId.get(sortedId), Number(sortedColumn), sortedWay === "up" ? 1 : -1);
show();
document.documentElement.dataset.ready = "";

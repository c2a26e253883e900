// Sort, search, filter, hide, download, theme and details; without this script every table is complete.

// --- theme

const themeButton = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (view.get("theme") ?? (prefersDark.matches ? "dark" : "light")) === "dark";

function showTheme() {
  if (view.has("theme")) document.documentElement.dataset.theme = view.get("theme");
  else delete document.documentElement.dataset.theme;
  themeButton.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
  // The theme goes along to the other pages; files have no storage that every browser would share.
  for (const link of all('a[href*=".html"]')) link.hash = view.has("theme") ? `theme=${view.get("theme")}` : "";
}
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  remember("theme", isDark() ? "light" : "dark");
  showTheme();
});
prefersDark.addEventListener("change", showTheme);

// --- tables

const tables = [];
const byId = new Map();
const readTable = (element) => {
  const heads = all("tr.columns > th", element);
  const corner = element.querySelector("thead th");
  if (heads[0] === corner) heads.shift();
  const metrics = new Map(
    heads.filter((head) => head.dataset.metric).map((head) => [head.dataset.dataset, head.dataset.metric]),
  );
  const start = [...element.tBodies].map((body) => [body, all("tr:not(.group)", body)]);
  return { element, corner, heads, metrics, start, groups: all("thead th.over", element) };
};
// What a head or a cell says, without marks and small lines.
const plain = (cell) =>
  cell.querySelector(":scope > span, :scope > a")?.textContent ??
  [...cell.childNodes].map((node) => (node.nodeType === Node.TEXT_NODE ? node.data : "")).join("").trim();
const titleOf = (table) => document.getElementById(`${table.element.id}-title`)?.textContent ?? "";
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
  // “at least 30%” is a number too.
  return Number.parseFloat(text.replaceAll(",", "").replace("−", "-").match(/-?\d[\d.e]*/)?.[0]);
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
      table.sorted = { index, direction };
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
        const box = make("input", "", { type: "checkbox", value: index });
        box.checked = !isChosenHidden(table, index);
        box.addEventListener("change", () => {
          listed("hide", `${table.element.id}.${index}`, !box.checked);
          showColumns();
        });
        const label = list.appendChild(make("label"));
        label.append(box, headOf(table, index));
      });
    });
    tools.append(menu);
  }
  tools.append(csv);
  addMore(table, tools);
  table.element.closest(".table-block").querySelector(".head").append(tools);
}

function readFilters() {
  for (const field of all("[name]", filters)) {
    if (field.type === "checkbox") field.checked = isListed(field.name, field.value);
    else field.value = view.get(field.name) ?? "";
  }
}

function chooseListed(name) {
  const boxes = all(`input[name="${name}"]`, filters);
  const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
  // An empty list is one too: nothing is shown.
  if (chosen.length === boxes.length) view.delete(name);
  else view.set(name, chosen.join(","));
  rememberAll();
}

function wireFilters() {
  if (!filters) return;
  filters.hidden = false;
  filters.addEventListener("submit", (event) => event.preventDefault());
  for (const field of all("[name]", filters)) {
    const isBox = field.type === "checkbox";
    field.addEventListener(isBox ? "change" : "input", () => {
      if (isBox) chooseListed(field.name);
      else remember(field.name, field.value);
      unfoldWhatIsAsked();
      show();
    });
  }
  filters.querySelector("#reset-view").addEventListener("click", () => {
    for (const name of [...view.keys()]) if (name !== "theme") view.delete(name);
    rememberAll();
    followView();
  });
}

// Everything as the hash says: at the start, after a reset, and when the address of an open page is changed.
function followView() {
  showTheme();
  if (filters) readFilters();
  unfoldWhatIsAsked();
  for (const table of tables) {
    for (const box of all(".tools input", table.element.closest(".table-block") ?? table.element)) {
      box.checked = !isChosenHidden(table, Number(box.value));
    }
    for (const head of [table.corner, ...table.heads]) head.removeAttribute("aria-sort");
    table.isMoved ||= Boolean(table.sorted);
    table.sorted = null;
  }
  readSorting();
  show();
}

function readSorting() {
  const [id, column, way] = (view.get("sort") ?? "").split(".");
  if (byId.has(id)) byId.get(id).sorted = { index: Number(column), direction: way === "up" ? 1 : -1 };
}

addEventListener("hashchange", () => {
  // A link to a place on the page is no view.
  if (location.hash && !location.hash.includes("=")) return;
  view = viewIn(location.hash);
  followView();
});

document.addEventListener("click", (event) => {
  for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  const link = event.target.closest?.('a[href^="#"]');
  const target = link && document.getElementById(link.hash.slice(1));
  if (!target) return;
  for (const folded of all("details:not([open])")) if (folded.contains(target)) folded.open = true;
  for (const menu of all("details.menu[open]")) if (menu.contains(link)) menu.open = false;
  if (!view.size) return;
  // The hash holds the view, so a link within the page moves without it.
  event.preventDefault();
  target.closest("details")?.setAttribute("open", "");
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

// --- start

function wireTables(root) {
  const found = all("table[id]", root).map(readTable);
  for (const table of found) {
    tables.push(table);
    byId.set(table.element.id, table);
    for (const group of table.groups) group.dataset.span = group.colSpan;
    makeSortable(table);
    addTools(table);
    makeWalkable(table);
  }
  watchHeads(found);
}

wireTables(document);
for (const key of all(".key")) wireKey(key);
wireTerms();
wireHeads();
wireFolds();
wireFilters();
followView();
document.documentElement.dataset.ready = "";

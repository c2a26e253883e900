// What stands behind a number: its runs with their seeds, files and origin, and the commands that compute it again.

const dialog = document.getElementById("cell");

const isAboutRuns = ({ dataset }) => Boolean(dataset.place && dataset.dataset);

function makeWalkable(table) {
  if (!table.element.dataset.evaluation) return;
  const cells = all("tbody tr[data-method] > td", table.element).filter((cell) => isAboutRuns(table.heads[cell.cellIndex - 1]));
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

function filesOf(run) {
  if (ofStudy(run.method)) return []; // a study holds them packed
  const files = details.files[run.stage] ?? {};
  const links = [];
  for (const [kind, file] of Object.entries(files)) {
    const [what, block] = kind.split(" ");
    if (block && run.place && block !== run.place) continue;
    const address = `${details.root}../results/${run.dataset}/${run.stage}/${run.method}/${run.folder}/${file}`;
    links.push(make("a", block ? `${what} of block ${block}` : what, { href: address }));
  }
  return links;
}

function runTable(runs, caption) {
  const table = make("table");
  const head = table.createTHead().insertRow();
  const scored = runs.some((run) => run.score !== undefined);
  const heads = ["Seed", ...(scored ? [details.metrics[runs[0].dataset]] : []), "Status", "Files", "Started", "Seconds", "Commit", "Working tree", "Hardware"];
  for (const name of heads) head.append(make("th", name, { scope: "col" }));
  const body = table.createTBody();
  for (const run of runs) {
    const origin = details.origins[run.origin] ?? {};
    const row = body.insertRow();
    row.append(make("th", run.seed, { scope: "row" }));
    if (scored) row.append(make("td", run.score?.toFixed(4).replace("-", "−") ?? "–", { class: "n" }));
    row.append(make("td", run.status));
    const links = run.status === "done" ? filesOf(run) : [];
    const files = row.appendChild(make("td", links.length ? "" : "–"));
    links.forEach((link, place) => files.append(place ? ", " : "", link));
    const about = [run.started ?? "–", run.seconds ?? "–", origin.commit ?? "–", origin.clean ?? "–", origin.device ?? "–"];
    for (const text of about) row.append(make("td", text));
  }
  const scroll = make("div", "", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption });
  scroll.append(table);
  return scroll;
}

function runsOf(stage, dataset, method, place) {
  const places = details.cells[stage]?.[dataset]?.[method] ?? {};
  // A probe has one cell for all blocks, which lies under no place.
  const runs = places[place] ?? places[""] ?? [];
  const labels = place in places ? (details.folders[place] ?? "") : "";
  return runs.map(([seed, status, started, seconds, origin, key, scores]) => {
    const score = (typeof scores === "object" ? scores?.[place] : scores) ?? undefined;
    return { stage, dataset, method, place, folder: `seed-${seed}${labels}`, seed, status, started, seconds, origin, key, score };
  });
}

function dvcStage(stage, dataset, method) {
  return details.per_dataset.includes(stage) ? `${stage}@${dataset}` : `${stage}@${dataset}-${method}`;
}

// A published cell is compared with its study, whatever this checkout has of its own.
function ofStudy(method) {
  const study = details.studies[method];
  return study ? ` --study ${study}` : "";
}

function reproduce(runs) {
  const own = runs.filter((run) => !ofStudy(run.method));
  const commits = new Set(own.map((run) => details.origins[run.origin]?.revision).filter(Boolean));
  const checkouts = [...commits].map((commit) => `git checkout ${commit}`);
  const reruns = runs
    .filter((run) => run.status === "done")
    .map((run) => `bench rerun ${run.stage}/${run.dataset}/${run.method}/${run.folder}${ofStudy(run.method)}`);
  const computed = reruns.length ? reruns : [`dvc repro ${dvcStage(runs[0].stage, runs[0].dataset, runs[0].method)}`];
  return make("pre", [...checkouts, ...computed].join("\n"));
}

function openDetails(cell) {
  const table = byId.get(cell.closest("table").id);
  const { dataset, place } = table.heads[cell.cellIndex - 1].dataset;
  const method = cell.parentElement.dataset.method;
  const evaluation = table.element.dataset.evaluation;
  const runs = runsOf(evaluation, dataset, method, place);
  document.getElementById("cell-title").textContent = `${method} on ${dataset}, ${headOf(table, cell.cellIndex - 1).replace(`${dataset}, `, "")}`;
  const body = document.getElementById("cell-body");
  body.replaceChildren(make("p", `${titleOf(table)}: ${[plain(cell), ...all("b, small", cell).map((own) => own.textContent)].join("; ")}`));
  if (cell.title) body.append(make("p", cell.title, { class: "note" }));
  body.append(make("h3", `Runs behind it: DVC stage ${dvcStage(evaluation, dataset, method)}`), runTable(runs, "Runs of this cell"));
  const upstream = evaluation === "pretrain" ? [] : runsOf("pretrain", dataset, method, "");
  if (upstream.length) body.append(make("h3", `Encoders: DVC stage pretrain@${dataset}-${method}`), runTable(upstream, "Encoders of this cell"));
  if (runs.length) {
    body.append(make("h3", "Compute exactly this again"), reproduce(runs));
    body.append(make("p", "In a scratch folder, compared file by file with what is kept: nothing in the project is changed.", { class: "note" }));
  }
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

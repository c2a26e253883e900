// Aggregates of a part of the run: what bench.analysis.standings and bench.analysis.aggregates compute over all
// of it, from the parts that the page holds. A place is a label set or a block, and by its number in a data set.
const parts = JSON.parse(document.getElementById("score-parts")?.textContent ?? '{"evaluations":{}}');
const sum = (numbers) => numbers.reduce((total, value) => total + value, 0);
const mean = (numbers) => sum(numbers) / numbers.length;
const TRIM = 0.25;

// What is chosen of an evaluation: data sets with the numbers of their places.
function chosenPlaces(evaluation, isDataset, isPlace) {
  return Object.entries(parts.evaluations[evaluation] ?? {})
    .filter(([dataset]) => isDataset(dataset))
    .map(([, part]) => ({ part, places: [...part.places.keys()].filter((at) => isPlace(part.places[at])) }))
    .filter(({ places }) => places.length);
}

// A method's runs in every chosen column; null where one has no result.
function runsIn(chosen, method) {
  const columns = chosen.flatMap(({ part, places }) => places.map((at) => part.methods[method]?.scores[at]));
  return columns.length && columns.every(Boolean) ? columns : null;
}

function studentQuantile(freedom) {
  const last = parts.quantiles.length - 1;
  const at = last / freedom;
  const below = Math.min(Math.floor(at), last - 1);
  return parts.quantiles[below] + (at - below) * (parts.quantiles[below + 1] - parts.quantiles[below]);
}

function patientVariance({ part, places }, method, columns) {
  const { covariance } = part.methods[method];
  const between = (a, b) => covariance[(Math.max(a, b) * (Math.max(a, b) + 1)) / 2 + Math.min(a, b)];
  return sum(places.flatMap((a) => places.map((b) => between(a, b)))) / columns ** 2;
}

function meanScore(chosen, method) {
  const columns = runsIn(chosen, method);
  if (!columns) return null;
  const bySeed = columns[0].map((_, seed) => mean(columns.map((runs) => runs[seed])));
  const value = mean(bySeed);
  const seeds = bySeed.length;
  const terms = chosen.map((own) => [patientVariance(own, method, columns.length), own.part.freedom]);
  if (seeds > 1) {
    const between = sum(bySeed.map((score) => (score - value) ** 2)) / (seeds - 1);
    terms.push([between / seeds, seeds - 1]);
  }
  const known = terms.filter(([variance, freedom]) => variance > 0 && freedom > 0);
  const variance = sum(known.map(([own]) => own));
  if (!variance) return { value };
  // Satterthwaite (1946).
  const freedom = variance ** 2 / sum(known.map(([own, free]) => own ** 2 / free));
  const half = studentQuantile(freedom) * Math.sqrt(variance);
  const lowest = mean(chosen.flatMap(({ part, places }) => places.map(() => part.lowest)));
  return { value, low: Math.max(value - half, lowest), high: Math.min(value + half, 1) };
}

function meanRanks(chosen, methods) {
  const ranked = methods.filter((name) => !parts.references.includes(name) && runsIn(chosen, name));
  const scores = ranked.map((name) => runsIn(chosen, name).map(mean));
  const rankOf = (own) =>
    mean(
      scores[own].map((score, column) => {
        const all = scores.map((columns) => columns[column]);
        const above = all.filter((other) => other > score).length;
        return above + (all.filter((other) => other === score).length + 1) / 2;
      }),
    );
  return new Map(ranked.map((name, own) => [name, { value: rankOf(own) }]));
}

function interquartileMean(chosen, method) {
  const columns = runsIn(chosen, method);
  if (!columns) return null;
  const scores = columns.flat().sort((a, b) => a - b);
  const cut = Math.floor(TRIM * scores.length);
  return { value: mean(scores.slice(cut, scores.length - cut)) };
}

function improvement(chosen, method) {
  const [columns, others] = [runsIn(chosen, method), runsIn(chosen, parts.baseline)];
  if (!columns || !others || method === parts.baseline) return null;
  const wins = (score, other) => (score > other) + 0.5 * (score === other);
  return {
    value: mean(columns.map((runs, at) => mean(runs.flatMap((score) => others[at].map((other) => wins(score, other)))))),
  };
}

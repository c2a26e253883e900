// Long tables in a fold are one text in <noscript> until they are asked for: with 50 methods most of the page is such
// tables, and a browser would take seconds to build them. Without this script they are there like all others.

function unfold(texts) {
  if (!texts.length) return;
  for (const kept of texts) {
    const holder = document.createElement("template");
    // The page's own text, in which everything from data was escaped when it was written.
    holder.innerHTML = kept.textContent;
    const fold = kept.parentElement;
    kept.replaceWith(holder.content);
    wireTables(fold);
  }
  // Once for all: the theme goes over every link of the page.
  showTheme();
  readSorting();
}

// A metric may stand in folded tables only.
function unfoldWhatIsAsked() {
  const metric = view.get("metric");
  if (!metric || metric === "primary") return;
  const isAsked = (kept) => kept.textContent.includes(`data-metric="${metric}"`);
  unfold(all("details > noscript").filter(isAsked));
}

function wireFolds() {
  const onToggle = ({ target: fold }) => {
    const kept = fold.open && fold.querySelector(":scope > noscript");
    if (!kept) return;
    unfold([kept]);
    show();
  };
  document.addEventListener("toggle", onToggle, { capture: true });
}

// Heads of columns stay in sight while the page scrolls. Their tables lie in boxes that scroll sideways, and a sticky
// head sticks to its box, not to the page: so the page moves it within the box, below the bar of filters.
const bar = document.querySelector(".bar");
const boxesInView = new Map();
let isMoveDue = false;

function moveHeads() {
  isMoveDue = false;
  const top = Math.max(0, bar?.getBoundingClientRect().bottom ?? 0);
  // All is measured before anything is moved, so that the page is laid out once.
  const moves = [...boxesInView].map(([box, head]) => {
    const room = box.clientHeight - head.offsetHeight;
    return [head, Math.min(Math.max(0, top - box.getBoundingClientRect().top), Math.max(0, room))];
  });
  for (const [head, by] of moves) head.style.transform = by ? `translateY(${by}px)` : "";
}

function moveHeadsSoon() {
  if (isMoveDue) return;
  isMoveDue = true;
  requestAnimationFrame(moveHeads);
}

const boxes = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) boxesInView.set(target, target.querySelector("thead"));
    else boxesInView.delete(target);
  }
  moveHeadsSoon();
});

function watchHeads(tables) {
  const scrolls = tables.map(({ element }) => element.closest(".scroll"));
  for (const box of scrolls) if (box) boxes.observe(box);
}

function wireHeads() {
  for (const name of ["scroll", "resize", "shown"]) addEventListener(name, moveHeadsSoon, { passive: true });
  document.addEventListener("toggle", moveHeadsSoon, { capture: true, passive: true });
}

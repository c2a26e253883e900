const config = JSON.parse(document.getElementById("chart-config").textContent);
for (const holder of document.querySelectorAll("figure[data-chart]")) {
  const spec = JSON.parse(holder.querySelector("script").textContent);
  holder.hidden = false;
  // ast: expressions are interpreted, so that the page's policy can forbid eval.
  vegaEmbed(holder.querySelector(".chart"), spec, { actions: false, ast: true, config, renderer: "svg" }).catch(
    () => {
      holder.hidden = true;
    },
  );
}

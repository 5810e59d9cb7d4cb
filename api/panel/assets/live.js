// While the page is looked at, what says where it comes from is asked for again every two seconds.
setInterval(() => {
  const live = document.getElementById("live");
  if (!live || !live.dataset.live || document.hidden) return;
  htmx.ajax("GET", live.dataset.live, { target: "#live", select: "#live", swap: "outerHTML" });
}, 2000);

// While the page is looked at, what changes on it is asked for again every two seconds. What cannot be had leaves it as it is.
let busy = false;
setInterval(async () => {
  const live = document.getElementById("live");
  if (busy || !live || !live.dataset.live || document.hidden) return;
  busy = true;
  try {
    const answer = await fetch(live.dataset.live, { headers: { "HX-Request": "true" }, redirect: "error" });
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.getElementById("live");
      if (now && document.getElementById("live") === live && now.innerHTML !== live.innerHTML) live.replaceWith(now);
    }
  } catch {
    // The next turn asks again.
  } finally {
    busy = false;
  }
}, 2000);

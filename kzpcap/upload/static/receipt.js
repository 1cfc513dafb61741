// While an upload is on its way through: what became of it is renewed in place, so that the focus stays where it is.
"use strict";
(() => {
  const came = document.getElementById("came");

  async function renew() {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.getElementById("came");
      if (!now && answer.status === 404) return location.reload(); // deleted, or past its time: the page says so
      if (now && now.innerHTML !== came.innerHTML) came.replaceChildren(...now.childNodes);
      if (now && !now.dataset.renew) return;
    } catch (error) {
      // no connection: the next round asks again
    }
    setTimeout(renew, 1000 * Number(came.dataset.renew));
  }

  setTimeout(renew, 1000 * Number(came.dataset.renew));
})();
